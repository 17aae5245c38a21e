# SPDX-License-Identifier: Apache-2.0
"""One life of a site: requests of every kind, one after the other, each of them possibly struck by a
kill, and repeated as a station or an officer would until it is done; then the books."""
import time
from concurrent import futures

import grpc

from books import Books
from service_site import Refused, fields_of, station_pb2, types_pb2

QUANTITIES = (76, 10)  # of the orders: devices made in the token, devices that make their own keys
FIRST = 66       # devices of the first request, which is two chunks
EACH = 4         # devices of each of two requests at once
LAST = QUANTITIES[0] - FIRST - 2 * EACH  # devices of the one that takes the last unit
DEVICES = 3      # requests to enroll


class NotYet(Exception):
    """Certificates are still on their way from elsewhere; the station comes back for them."""


class Life:
    """Each step is a phase of the tracer; so are `start`, each start after a kill (`again`), and the
    proper `stop`. kills: where phases are struck, {phase: (point, k, when, effect)}.

    Afterwards: hits, the phases that were struck; missed, those whose point never came; points, those
    of phases that were to be left alone; failed, texts of what did not end as it should; books."""

    steps = ('import', 'open', 'provision', 'replay', 'both', 'brim', 'over', 'enroll', 'report', 'release',
             'suspend')

    def __init__(self, site, requests, kills=None):
        self.site, self.kills = site, kills or {}
        self.requests = requests  # to enroll
        self.received = set()     # bundles that reached the station, whatever became of the call
        self.certificates = {}    # request to enroll → bundles that reached the station for it
        self.hits, self.points, self.failed = set(), {}, []
        self.phase = None         # that the tracer is in
        self.struck = False       # the step at hand was cut off once

    def live(self):
        self.site.renew()
        doubles = self.site.doubles_elsewhere()
        try:
            self.launch('start')
            for name in self.steps:
                self.step(name)
            self.end()
        except (Refused, AssertionError) as e:
            self.failed.append(f'{type(e).__name__}: {e}')
        finally:
            self.site.abandon()
        self.missed = sorted(set(self.kills) - self.hits)
        self.books = Books(self.site, self.received, self.certificates)
        self.books.doubles += self.site.doubles_elsewhere() - doubles
        return self

    # -- phases --------------------------------------------------------------------------------

    def note(self, points, killed):
        """What the tracer told of the phase that is over."""
        if killed:
            self.hits.add(self.phase)
        elif self.phase not in self.kills:
            self.points.setdefault(self.phase, points)

    def left(self, phase):
        return None if phase in self.hits else self.kills.get(phase)

    def gone(self):
        """The service has ended; its exit status."""
        tracer, status = self.site.tracer, self.site.finish()
        self.note(tracer.points, tracer.killed)
        return status

    def launch(self, phase):
        self.site.launch(phase, self.left(phase))
        self.phase = phase
        if not self.site.wait_up():
            self.gone()

    def enter(self, phase):
        """The service runs, in that phase; started again, as systemd would, as often as need be."""
        while True:
            tracer = self.site.tracer
            if tracer and tracer.phase(phase, self.left(phase)):
                self.note(*tracer.last)
                self.phase = phase
                return
            if tracer:
                self.gone()
            self.launch('again')

    def step(self, name):
        """Does it, again and again, as whoever asked for it would."""
        function, end = getattr(self, 'do_' + name), time.monotonic() + self.site.patience_s
        self.struck = False
        self.enter(name)
        while True:
            try:
                with self.site.client('station') as self.station, \
                        self.site.client('officer') as self.officer:
                    return function()
            except Refused as e:
                if e.code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED) or \
                        time.monotonic() > end:
                    raise AssertionError(f'{name}: {e}') from None
            except NotYet as e:
                if time.monotonic() > end:
                    raise AssertionError(f'{name}: {e}') from None
            self.struck = True
            if self.site.tracer.gone():
                self.enter(name)
            else:
                time.sleep(0.02)

    def end(self):
        """A proper end, struck or not; then, after one more start, everything once more."""
        self.enter('stop')
        self.site.terminate()
        self.gone()
        self.enter('last')
        self.step('everything')
        self.site.terminate()
        status = self.gone()
        assert status == 0, f'it ends with {status}'

    # -- requests ------------------------------------------------------------------------------

    def once_done(self, *reasons):
        """What may be said to a repeated request whose first answer was lost."""
        struck = self.struck

        class Allow:
            def __enter__(self):
                return self

            def __exit__(self, kind, error, _):
                return kind is Refused and struck and error.reason in reasons
        return Allow()

    def do_import(self):
        with self.once_done('ORDER_EXISTS', 'ORDER_NONCE_USED'):
            self.officer.call('OfficerService', 'ImportOrder',
                              document=(self.site.site / 'second.cms').read_bytes())
        order = self.officer.call('OfficerService', 'GetOrder', order_id='second').order
        assert order.quantity == 10, order

    def do_open(self):
        made, own = self.site.profiles['token'], self.site.profiles['device']
        self.batches = [self.open('order-0', made, QUANTITIES[0]),
                        self.open('order-1', own, QUANTITIES[1])]
        self.one_more = self.open('order-0', made, 1)

    def open(self, order, profile, quantity):
        return self.station.station('OpenBatch', name='batch', profile=profile, quantity=quantity,
                                    device_type='sensor', heads=8, order_id=order).batch.batch_uid

    def provision(self, count, request_id):
        """All bundles of a call; what comes of one that fails counts as received, too."""
        bundles = []
        try:
            for message in self.station.stream(self.batches[0], count, request_id):
                new = bundles_of(message)
                self.received.update(new)
                bundles += new
        except grpc.RpcError as error:
            raise Refused(error) from None
        if len(bundles) < count and self.site.waits:
            raise NotYet(f'{request_id}: {len(bundles)} of {count} bundles')
        assert len(set(bundles)) == len(bundles) == count, \
            f'{request_id}: {len(bundles)} bundles, {len(set(bundles))} different, of {count}'
        return bundles

    def do_provision(self):
        before = set(self.received)
        self.first = self.provision(FIRST, 'first')
        assert before <= set(self.first), 'a repeated request gives other devices'

    def do_replay(self):
        assert self.provision(FIRST, 'first') == self.first, 'a repeated request gives other devices'

    def do_both(self):
        """Two requests at once, which the store may commit together."""
        before = set(self.received) - set(self.first)
        with futures.ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(self.provision, EACH, name) for name in ('left', 'right')]
        self.pair = [call.result() for call in calls]
        assert before <= {*self.pair[0], *self.pair[1]}, 'a repeated request gives other devices'

    def do_brim(self):
        before = set(self.received) - {*self.first, *self.pair[0], *self.pair[1]}
        self.last = self.provision(LAST, 'last')
        assert before <= set(self.last), 'a repeated request gives other devices'
        assert len({*self.first, *self.pair[0], *self.pair[1], *self.last}) == QUANTITIES[0], \
            'a device for two requests'

    def do_enroll(self):
        message = station_pb2.EnrollRequest(
            batch_uid=self.batches[1], request_id='own',
            devices=[station_pb2.DeviceCsr(csr=csr, hw_serial=self.site.hw_serial(i))
                     for i, csr in enumerate(self.requests)])
        call = self.station.channel.stream_stream(
            '/mintmark.v1.StationService/Enroll',
            request_serializer=station_pb2.EnrollRequest.SerializeToString,
            response_deserializer=station_pb2.EnrollResponse.FromString)(
                iter([message]), timeout=self.site.patience_s)
        done = 0
        try:
            for answer in call:
                for result in answer.results:
                    if result.HasField('withheld') and self.site.waits:
                        continue
                    assert result.HasField('bundle'), result
                    bundle = result.bundle.SerializeToString()
                    self.received.add(bundle)
                    self.certificates.setdefault(self.requests[result.index], set()).add(bundle)
                    done += 1
        except grpc.RpcError as error:
            raise Refused(error) from None
        if done < len(self.requests) and self.site.waits:
            raise NotYet(f'{done} enrolled')
        assert done == len(self.requests), f'{done} enrolled'

    def do_report(self):
        counts = self.station.station(
            'ReportDevices', batch_uid=self.batches[0],
            devices=[station_pb2.DeviceReport(device_uid=self.site.uid(bundle),
                                              state=types_pb2.DEVICE_STATE_OK)
                     for bundle in self.first]).counts
        assert counts.ok == FIRST and counts.issued == QUANTITIES[0], counts

    def do_release(self):
        with self.once_done('BATCH_RELEASED'):
            self.station.station('ReleaseBatch', batch_uid=self.batches[0])
        batch = self.station.station('GetBatch', batch_uid=self.batches[0]).batch
        assert batch.state == types_pb2.BATCH_STATE_RELEASED, batch

    def do_suspend(self):
        with self.once_done('ORDER_SUSPENDED'):
            self.officer.call('OfficerService', 'ChangeOrder', order_id='second',
                              action=types_pb2.ORDER_ACTION_SUSPEND)
        order = self.officer.call('OfficerService', 'GetOrder', order_id='second').order
        assert order.state == types_pb2.ORDER_STATE_SUSPENDED, order

    def do_over(self):
        """The order is spent to the last unit, so one more is refused."""
        try:
            for message in self.station.stream(self.one_more, 1, 'over'):
                self.received.update(bundles_of(message))
        except grpc.RpcError as error:
            refused = Refused(error)
            if refused.code == grpc.StatusCode.UNAVAILABLE:
                raise refused from None
            assert refused.reason == 'QUOTA_EXHAUSTED', refused
        else:
            raise AssertionError('a device beyond the order')

    def do_everything(self):
        """What was delivered is delivered again."""
        for count, name, bundles in ((FIRST, 'first', self.first), (EACH, 'left', self.pair[0]),
                                     (EACH, 'right', self.pair[1]), (LAST, 'last', self.last)):
            assert self.provision(count, name) == bundles, f'{name}: other devices after the end'
        self.do_enroll()


def bundles_of(message):
    return fields_of(message, 1)
