#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The service when its parts fail, and when stations do as they please: workers that die and hang,
calls that are cut off, taken over, not read; reloads, drains, and what systemd hears of it."""
import contextlib
import os
import pathlib
import queue
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
import unittest

import grpc

from prometheus_text import read_page
from service_site import HUNG_MS, WAIT_S, Base, Refused, fields_of, make_certificate, officer_pb2
from processes import alive, descendants  # noqa: E402

# What workers have in hand of a call that is the first: so many devices in a job as long as none was
# measured (FEW_UNITS of daemon/front/cost.c), and so many jobs each (mm_pool_depth).
FEW, DEPTH = 8, 2


class Workers(Base):
    workers = 2

    def test_a_chunk_of_a_failing_worker_is_made_by_another(self):
        for what in ('die', 'hang', 'garbage', 'oversized', 'other-id', 'unavailable', 'short',
                     'wrong-number'):
            with self.subTest(what=what):
                self.service.forget()
                station, batch = self.started(f'job={what}', self.service.until(), job_timeout_ms=HUNG_MS)
                self.assertEqual(len(set(station.provision(batch, 300, 'r'))), 300)
                self.assertEqual(station.issued(batch), 300)
                self.assertTrue((self.service.dir / 'until').exists())
                station.channel.close()
                self.assertEqual(self.service.stop(), 0)

    def test_workers_that_always_fail_end_the_call_and_keep_the_rest(self):
        station, batch = self.started('job=die')
        error = self.refused('UNAVAILABLE', 'TOKEN_UNAVAILABLE', station.provision, batch, 300, 'r')
        self.assertTrue(error.retry)
        self.assertEqual(station.issued(batch), 0)

    def test_the_stations_own_mistake_is_told_as_such(self):
        station, batch = self.started('job=invalid')
        self.refused('INVALID_ARGUMENT', 'INVALID_FIELD', station.provision, batch, 10, 'r')
        self.assertTrue(station.ready())

    def test_a_killed_token_worker_costs_nothing(self):
        station, batch = self.started('delay_ms=10')
        call = station.stream(batch, 2000, 'r')
        bundles = fields_of(next(call), 1)
        for pid in self.service.worker_pids('token'):
            os.kill(pid, signal.SIGKILL)
        try:
            for message in call:
                bundles += fields_of(message, 1)
        except grpc.RpcError as error:
            self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
            bundles += station.provision_persistently(batch, 2000, 'r')
        self.assertEqual(len(set(bundles)), 2000)
        self.assertEqual(station.issued(batch), 2000)

    def test_a_killed_store_fails_calls_and_the_retry_completes(self):
        station, batch = self.started()
        for round_ in range(3):
            request = f'r-{round_}'
            with self.token_held('token.1'):
                call = station.stream(batch, 2000, request)
                seen = set(fields_of(next(call), 1))
                os.kill(self.service.worker_pids('store')[0], signal.SIGKILL)
                with self.assertRaises(grpc.RpcError) as caught:
                    for message in call:
                        seen |= set(fields_of(message, 1))
            refused = Refused(caught.exception)
            self.assertEqual((refused.code.name, refused.reason), ('UNAVAILABLE', 'STORE_UNAVAILABLE'))
            bundles = station.provision_persistently(batch, 2000, request)
            self.assertEqual(len(set(bundles)), 2000)
            self.assertLessEqual(seen, set(bundles), 'a delivered device is not recorded')
        self.assertEqual(station.issued(batch), 6000)

    def test_a_killed_launcher_ends_the_service(self):
        self.service.start()
        pid = self.service.daemon.pid
        launcher = int(pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split()[0])
        workers = self.service.worker_pids('')
        os.kill(launcher, signal.SIGKILL)
        self.assertEqual(self.service.daemon.wait(timeout=20), 1)
        self.eventually(lambda: not any(os.path.exists(f'/proc/{p}') for p in workers),
                        'workers outlive the service')

    def test_a_worker_that_hangs_dies_with_the_front_or_the_launcher(self):
        for victim in 'front', 'launcher':
            with self.subTest(victim):
                self.service.forget()
                station, batch = self.started('job=hang', self.service.until())
                call = station.stream(batch, 1, 'r')  # held, or gRPC cancels it
                self.eventually((self.service.dir / 'until').exists, 'no worker hangs')
                workers = self.service.worker_pids('')
                if victim == 'launcher':
                    os.kill(descendants(self.service.daemon.pid)[0], signal.SIGKILL)
                    self.service.daemon.wait(timeout=20)
                self.service.stop(signal.SIGKILL)
                self.eventually(lambda: not any(alive(p) for p in workers), 'a worker outlives the service')
                call.cancel()
                station.channel.close()

    def test_workers_die_with_the_front(self):
        self.service.start()
        workers = self.service.worker_pids('')
        self.assertEqual(self.service.stop(signal.SIGKILL), -signal.SIGKILL)
        self.eventually(lambda: not any(os.path.exists(f'/proc/{p}') for p in workers),
                        'workers outlive the service')


class Start(Base):
    def test_a_token_that_is_away_is_awaited(self):
        station, batch = self.started()
        self.assertEqual(self.service.stop(), 0)
        self.service.start('start=refuse', wait=False)
        station = self.client()
        pong = station.station('Ping')
        self.assertFalse(pong.ready)
        self.eventually(lambda: 'as it was told' in station.station('Ping').detail)
        self.assertFalse(station.health())
        self.refused('UNAVAILABLE', 'TOKEN_UNAVAILABLE', station.provision, batch, 1, 'r')
        self.service.configure()
        self.service.reload()
        self.eventually(station.ready)
        self.assertTrue(station.health())
        self.assertEqual(len(station.provision(batch, 1, 'r')), 1)

    def test_a_token_that_comes_back_is_found_without_help(self):
        self.service.start('start=refuse', self.service.until(), wait=False)
        station = self.client()
        self.eventually(station.ready)

    def test_a_refused_pin_is_tried_once_until_a_reload(self):
        self.service.start('start=pin', self.service.until(), wait=False)
        self.service.wait_log('event=pin_refused')

        def restarts():
            return sum(w.restarts for w in self.service.status().workers if w.name.startswith('token'))
        self.eventually(lambda: restarts() == 1)
        time.sleep(0.7)  # nor does another one try it later
        station = self.client()
        pong = station.station('Ping')
        self.assertFalse(pong.ready)
        self.assertEqual(self.service.log_text().count('event=pin_refused'), 1)
        self.assertEqual(restarts(), 1)
        self.service.reload()
        self.eventually(station.ready)

    def test_a_second_service_is_refused_its_port(self):
        self.service.start()
        self.service.configure(port=self.service.port)
        second = self.service.spawn('--config', self.service.conf)
        self.assertEqual(second.wait(timeout=20), 1)
        self.assertIn('in use', self.service.log_text())
        self.assertTrue(self.client().ready())

    def test_a_second_service_is_refused_its_store(self):
        self.service.start()
        second = self.service.spawn('--config', self.service.conf)
        self.assertEqual(second.wait(timeout=30), 1)
        self.assertRegex(self.service.log_text(), 'mintmarkd: .*open')
        self.assertTrue(self.client().ready())

    def test_a_newer_database_is_left_alone(self):
        self.started()
        self.assertEqual(self.service.stop(), 0)
        path = self.service.dir / 'mintmark.db'
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute('PRAGMA user_version = 99')
        before = path.read_bytes()
        self.service.start(wait=False)
        station = self.client()
        self.eventually(lambda: 'version 99' in station.station('Ping').detail)
        self.assertFalse(station.ready())
        error = self.refused('UNAVAILABLE', 'STORE_UNAVAILABLE', station.open_batch)
        self.assertTrue(error.retry)
        self.assertIn('version 99', error.text)
        self.assertIn('reason=STORE_TOO_NEW', self.service.log_text())
        self.assertEqual(self.service.stop(), 0)
        self.assertEqual(path.read_bytes(), before)

    def test_a_full_disk_is_told_and_nothing_is_lost(self):
        disk = self.service.dir / 'disk'
        disk.mkdir()
        mount = f'mount -t tmpfs -o size=512k none {disk} && exec "$@"'
        self.service.inside = ['unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', mount, 'sh']
        if subprocess.run([*self.service.inside, 'true'], stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest('no private mounts here')
        self.service.database = 'disk/mintmark.db'
        station, batch = self.started()
        whole = 0
        with self.assertRaises(Refused) as caught:
            while True:
                station.provision(batch, 1000, f'r-{whole}')
                whole += 1
        error = caught.exception
        self.assertEqual((error.code.name, error.reason), ('RESOURCE_EXHAUSTED', 'STORE_FULL'))
        issued = station.issued(batch)
        self.assertGreaterEqual(issued, 1000 * whole)
        # Smaller groups than those that did not fit may fit, until nothing does.
        for _ in range(16):
            before = issued
            self.refused('RESOURCE_EXHAUSTED', 'STORE_FULL', station.provision, batch, 1000, f'r-{whole}')
            issued = station.issued(batch)
            if issued == before:
                break
        self.assertEqual(issued, before, 'a full disk takes more and more')
        self.assertLess(issued, 1000 * (whole + 1))
        self.assertTrue(station.ready(), 'what is recorded can be read')

    def test_command_line(self):
        self.service.configure()

        def run(*args):
            return self.service.spawn(*args).wait(timeout=20)
        self.assertEqual(run('--check-config', '--config', self.service.conf), 0)
        self.assertEqual(run('--dump-config', '--config', self.service.conf), 0)
        self.assertEqual(run('--version'), 0)
        self.assertEqual(run('--help'), 0)
        self.assertEqual(run('--nonsense'), 64)
        self.assertEqual(run('--check-config', 'extra'), 64)
        self.assertEqual(run('--config', self.service.dir / 'none'), 78)
        good = self.service.conf.read_text()
        line = 1 + good[:good.index("profile 'dac'")].count('\n')
        for text, told in (('nonsense = 1\n', 'mintmark.conf:1: unknown setting'),
                           (good.replace('${number:12}', '${nummer:12}'),
                            f'mintmark.conf:{line}: profile "dac": CN of the subject: no variable'),
                           (good.replace("'ca.pem' }\nprofile", "'server.key' }\nprofile"),
                            f"mintmark.conf:{line - 1}: issuer 'pai': ")):
            self.service.conf.write_text(text)
            for action in (), ('--check-config',):
                mark = len(self.service.log_text())
                self.assertEqual(run('--config', self.service.conf, *action), 78)
                self.assertIn(told, self.service.log_text()[mark:])
        self.service.conf.write_text(good)
        (self.service.dir / 'server.key').write_bytes((self.service.dir / 'stranger.key').read_bytes())
        mark = len(self.service.log_text())
        self.assertEqual(run('--check-config', '--config', self.service.conf), 78)
        self.assertIn('server.key', self.service.log_text()[mark:])

    def test_missing_workers_are_named(self):
        self.service.configure()
        (self.service.dir / 'lib/mintmark-token').unlink()
        self.assertEqual(self.service.spawn('--config', self.service.conf).wait(timeout=20), 1)
        self.assertIn('cannot find mintmark-token', self.service.log_text())


class Stations(Base):
    def settled(self, function):
        """What the function gives once it gives the same for a while."""
        value = None
        while value != (value := function()):
            time.sleep(0.4)
        return value

    def test_a_newer_call_takes_over(self):
        station, batch = self.started()
        with self.token_held('token.1'):
            first = station.stream(batch, 1000, 'r')
            seen = set(fields_of(next(first), 1))
            second = self.in_background(station.provision, batch, 1000, 'r')
            with self.assertRaises(grpc.RpcError) as caught:
                for message in first:
                    seen |= set(fields_of(message, 1))
        refused = Refused(caught.exception)
        self.assertEqual((refused.code.name, refused.reason), ('ABORTED', 'REQUEST_TAKEN_OVER'))
        bundles = second()
        self.assertEqual(len(set(bundles)), 1000)
        self.assertLessEqual(seen, set(bundles))
        self.assertEqual(station.issued(batch), 1000)

    def test_a_call_with_other_arguments_takes_nothing_over(self):
        station, batch = self.started('delay_ms=40')
        call = station.stream(batch, 500, 'r')
        bundles = fields_of(next(call), 1)
        self.refused('INVALID_ARGUMENT', 'REQUEST_ID_REUSED', station.provision, batch, 501, 'r',
                     field='request_id')
        for message in call:
            bundles += fields_of(message, 1)
        self.assertEqual(len(set(bundles)), 500)

    def test_of_many_calls_the_newest_wins(self):
        station, batch = self.started()
        with self.token_held():
            join = self.in_background(station.provision, batch, 500, 'r')
            self.await_calls(1)
            for _ in range(3):
                older, join = join, self.in_background(station.provision, batch, 500, 'r')
                with self.assertRaises(Refused) as caught:
                    older()
                self.assertEqual(caught.exception.reason, 'REQUEST_TAKEN_OVER')
        self.assertEqual(len(set(join())), 500)
        self.assertEqual(station.issued(batch), 500)

    def test_a_cancelled_call_keeps_what_ran(self):
        station, batch = self.started()
        with self.token_held():
            call = station.stream(batch, 5000, 'r')
            self.eventually(lambda: all(w.state == officer_pb2.WORKER_STATE_BUSY
                                        for w in self.service.status().workers if w.name != 'store'))
            call.cancel()
            self.await_calls(0)
        self.await_rest()
        issued = station.issued(batch)
        # Whole jobs: of two workers, each with another one in hand.
        self.assertIn(issued, range(FEW, self.workers * DEPTH * FEW + 1, FEW))
        time.sleep(0.2)
        self.assertEqual(station.issued(batch), issued, 'a cancelled call goes on')
        self.assertEqual(len(set(station.provision(batch, 5000, 'r'))), 5000)
        self.assertEqual(station.issued(batch), 5000)

    def test_a_deadline_ends_a_call(self):
        station, batch = self.started('delay_ms=50')
        with self.assertRaises(Refused) as caught:
            station.provision(batch, 10000, 'r', timeout=0.4)
        self.assertEqual(caught.exception.code, grpc.StatusCode.DEADLINE_EXCEEDED)
        self.await_rest()
        issued = station.issued(batch)
        time.sleep(0.3)
        self.assertEqual(station.issued(batch), issued)

    def test_a_station_that_does_not_read_gets_little_made(self):
        station, batch = self.started('bundle_bytes=2000')
        call = station.stream(batch, 20000, 'r')
        issued = self.settled(lambda: station.issued(batch))
        # 40 MB in all; flow-control windows and buffers hold a few.
        self.assertLess(issued, 10000)
        bundles = [b for m in call for b in fields_of(m, 1)]
        self.assertEqual(len(set(bundles)), 20000)

    def test_a_client_has_a_limit_of_calls(self):
        station, batch = self.started()
        with self.token_held():
            calls = [station.stream(batch, 2000, f'r-{i}') for i in range(4)]
            self.await_calls(4)
            error = self.refused('RESOURCE_EXHAUSTED', 'TOO_MANY_CALLS', station.provision, batch, 1, 'x')
        self.assertTrue(error.retry)
        self.assertEqual(error.subject, 'client:line-1')
        other = self.client('other')
        self.assertEqual(len(other.provision(batch, 1, 'x')), 1)
        for call in calls:
            call.cancel()

    def test_one_device_does_not_wait_for_anothers_bulk(self):
        station, batch = self.started('delay_ms=2', more='metrics { port = 0 }')
        port = int(self.service.wait_log(r'event=metrics_listening .*port=(\d+)')[1])
        rest = 5000 - self.workers * DEPTH * FEW
        with self.token_held():
            bulk = self.in_background(station.provision, batch, 5000, 'bulk')
            self.eventually(lambda: read_page(port)('mintmark_devices_waiting') == rest)
            one = self.in_background(self.client('other').provision, batch, 1, 'one')
            self.eventually(lambda: read_page(port)('mintmark_devices_waiting') == rest + 1)
            # By one worker alone, so that there is an order.
            began = time.monotonic()
            self.let_go(self.service.worker_pids('token')[0])
            made, = map(self.made_ms, one())
            self.assertLess(time.monotonic() - began, 1)
        # What the worker has in hand stands before it, not the rest of the bulk.
        self.assertLessEqual(sum(self.made_ms(b) < made for b in bulk()), DEPTH * FEW)

    @staticmethod
    def made_ms(bundle):
        """When the fake worker made it: its text ends with the device's UID, a UUID of version 7."""
        return int(bundle[-32:-20], 16)

    def test_the_missing_serials_of_a_cut_off_call_are_made(self):
        station, batch = self.started('delay_ms=20')
        serials = [f'SN-{i}' for i in range(1000)]
        call = station.stream(batch, 1000, 'r', hw_serials=serials)
        next(call)
        call.cancel()
        bundles = station.provision(batch, 1000, 'r', hw_serials=serials)
        self.assertEqual(len(set(bundles)), 1000)
        self.assertEqual(station.issued(batch), 1000)


class Life(Base):
    def test_a_drain_finishes_what_runs(self):
        station, batch = self.started('delay_ms=50')
        join = self.in_background(station.provision, batch, 1000, 'r')
        self.eventually(lambda: self.service.status().devices_issued > 0)
        self.service.daemon.send_signal(signal.SIGTERM)
        self.assertEqual(len(set(join())), 1000)
        station.channel.close()
        self.assertEqual(self.service.stop(), 0)
        self.assertIn('event=stopped', self.service.log_text())

    def test_asked_twice_it_ends_at_once(self):
        station, batch = self.started(drain_timeout_ms=1000 * 20 * WAIT_S)
        workers = self.service.worker_pids('')
        with self.token_held():
            call = station.stream(batch, 10000, 'r')  # held, or gRPC cancels it
            self.await_calls(1)
            self.service.daemon.send_signal(signal.SIGTERM)
            self.service.wait_log('event=stopping')
            began = time.monotonic()
            self.assertEqual(self.service.stop(), 0)
            # It waits neither for the call nor for workers that do not go by themselves.
            self.assertLess(time.monotonic() - began, 2)
            self.assertIsNotNone(call.exception())
        self.eventually(lambda: not any(os.path.exists(f'/proc/{p}') for p in workers))

    def test_a_reload_replaces_workers_and_loses_no_job(self):
        station, batch = self.started('delay_ms=20')
        old = self.service.worker_pids('token')
        join = self.in_background(station.provision, batch, 3000, 'r')
        self.eventually(lambda: self.service.status().devices_issued > 0)
        self.service.configure('delay_ms=5')
        self.service.reload()
        self.assertEqual(len(set(join())), 3000)
        self.eventually(lambda: len(self.service.worker_pids('token')) == 2 and
                        not set(old) & set(self.service.worker_pids('token')))
        self.assertEqual(station.issued(batch), 3000)

    def test_a_reload_that_changes_the_chain_does_not_mix_two_in_a_stream(self):
        # More than connections hold, so that the call is not through while nobody reads it.
        station, batch = self.started('bundle_bytes=4000', 'shared=old')
        call = station.stream(batch, 5000, 'r')
        self.assertEqual(fields_of(next(call), 2), [b'old'])
        old = self.service.worker_pids('token')
        self.service.configure('bundle_bytes=4000', 'shared=new')
        self.service.reload()
        self.eventually(lambda: not set(old) & set(self.service.worker_pids('token')))
        with self.assertRaises(grpc.RpcError) as caught:
            for _ in call:
                pass
        refused = Refused(caught.exception)
        self.assertEqual((refused.code.name, refused.reason), ('UNAVAILABLE', 'PROFILE_CHANGED'))
        # What is recorded comes with its own chain, and then the new one is announced.
        messages = list(station.stream(batch, 5000, 'r'))
        self.assertEqual([c for m in messages for c in fields_of(m, 2)], [b'old', b'new'])
        self.assertEqual(fields_of(messages[0], 2), [b'old'])
        self.assertEqual(len({b for m in messages for b in fields_of(m, 1)}), 5000)

    def test_a_bad_reload_changes_nothing(self):
        station, batch = self.started()
        good = self.service.conf.read_text()
        for text in ('nonsense = 1', good.replace("port = 0", "port = 1"),
                     good.replace('mintmark.db', 'other.db'),
                     good.replace('server.pem', 'missing.pem'),
                     good.replace('${number:12}', '${nummer:12}'),
                     good.replace("pin_file = 'pin'", "pin_file = 'missing'")):
            self.service.conf.write_text(text)
            mark = len(self.service.log_text())
            self.service.daemon.send_signal(signal.SIGHUP)
            self.service.wait_log('event=reload_failed', mark)
        self.assertEqual(len(station.provision(batch, 10, 'r')), 10)

    def certificate(self):
        """What the service shows."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(['h2'])
        with socket.create_connection(('127.0.0.1', self.service.port), 20) as plain, \
                context.wrap_socket(plain) as tls:
            return ssl.DER_cert_to_PEM_cert(tls.getpeercert(True))

    def renew(self, name, *files):
        for file in files:
            (self.service.dir / f'{name}.{file}').rename(self.service.dir / f'server.{file}')
        mark = len(self.service.log_text())
        self.service.daemon.send_signal(signal.SIGHUP)
        return mark

    def test_a_reload_takes_renewed_certificates(self):
        folder = self.service.dir
        station, batch = self.started()
        old = self.certificate()
        for name in ('renewed', 'other'):
            make_certificate(folder, name, 'DNS:localhost,IP:127.0.0.1')
        new = (folder / 'renewed.pem').read_text()
        mark = self.renew('renewed', 'pem')
        self.service.wait_log('event=reload_failed', mark)  # not its key
        self.assertEqual(self.certificate(), old)
        mark = self.renew('renewed', 'key')
        self.service.wait_log('event=reloaded', mark)
        self.assertEqual(self.certificate(), new)
        (folder / 'other.key').chmod(0o644)
        mark = self.renew('other', 'pem', 'key')
        self.service.wait_log('event=reload_failed', mark)
        self.assertIn('holds a secret and has mode 644', self.service.log_text()[mark:])
        self.assertEqual(self.certificate(), new)
        self.assertEqual(len(station.provision(batch, 10, 'r')), 10)

    def free_client_ca(self):
        """From the next reload on ca.pem is not the issuer's certificate as well."""
        shutil.copy(self.service.dir / 'ca.pem', self.service.dir / 'pai.pem')
        text = self.service.conf.read_text()
        self.service.conf.write_text(text.replace("'ca.pem' }\nprofile", "'pai.pem' }\nprofile"))

    def test_a_reload_takes_new_client_cas(self):
        folder = self.service.dir
        self.service.start()
        self.free_client_ca()
        with self.assertRaises(Refused):
            self.client('stranger').ready()
        (folder / 'both.pem').write_text((folder / 'ca.pem').read_text() +
                                         (folder / 'stranger-ca.pem').read_text())
        (folder / 'both.pem').rename(folder / 'ca.pem')
        self.service.reload()
        self.assertTrue(self.client('stranger').ready())
        self.assertTrue(self.client().ready())

    def test_a_reload_takes_no_broken_certificates(self):
        self.service.start()
        self.free_client_ca()
        shown = self.certificate()
        for name in ('server.pem', 'server.key', 'ca.pem'):
            path = self.service.dir / name
            good = path.read_text()
            broken = ['', 'garbage', good[:-40], good.replace('M', '!', 1)]
            if name != 'server.key':
                broken.append(good + good[:200])
            for text in broken:
                path.write_text(text)
                mark = len(self.service.log_text())
                self.service.daemon.send_signal(signal.SIGHUP)
                self.service.wait_log('event=reload_failed', mark)
                self.assertIn(name, self.service.log_text()[mark:])
            path.write_text(good)
        self.assertEqual(self.certificate(), shown)
        self.assertTrue(self.client().ready())

    def test_a_reload_does_not_go_to_other_files(self):
        self.service.start()
        good = self.service.conf.read_text()
        for key, old in (('certificate', 'server.pem'), ('key', 'server.key'), ('client_ca', 'ca.pem')):
            shutil.copy2(self.service.dir / old, self.service.dir / 'copy')
            self.service.conf.write_text(good.replace(f"{key} = '{old}'", f"{key} = 'copy'", 1))
            mark = len(self.service.log_text())
            self.service.daemon.send_signal(signal.SIGHUP)
            self.service.wait_log('event=reload_failed', mark)
            self.assertIn(f'listen.{key} cannot change while the service runs',
                          self.service.log_text()[mark:])

    def test_a_bad_module_after_a_reload_leaves_the_old_workers_serving(self):
        station, batch = self.started()
        self.service.configure('start=refuse')
        self.service.reload()
        self.service.wait_log('event=worker_lost')
        self.assertTrue(station.ready())
        self.assertEqual(len(station.provision(batch, 200, 'r')), 200)

    def test_a_profile_that_is_taken_away_is_unknown(self):
        station, batch = self.started()
        more = """profile 'more' { issuer = 'pai' delivery = 'retained' subject = 'CN=x' validity = '7d' }"""
        self.service.conf.write_text(self.service.conf.read_text().replace("profile 'dac'", "profile 'cad'"))
        self.service.reload()
        self.refused('NOT_FOUND', 'UNKNOWN_PROFILE', station.provision, batch, 1, 'r')
        self.refused('NOT_FOUND', 'UNKNOWN_PROFILE', station.open_batch)
        self.service.configure(more=more)
        self.service.reload()
        self.eventually(lambda: self.service.log_text().count('event=reloaded') == 2)
        self.assertEqual(len(station.provision(batch, 1, 'r')), 1)

    @staticmethod
    def listen(notify, heard):
        with contextlib.suppress(OSError):  # it is closed at the end
            while True:
                heard.put(notify.recv(4096).decode())

    def test_systemd_hears_of_everything(self):
        path = str(self.service.dir / 'notify')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            notify.settimeout(WAIT_S)
            # Who listens all the time, as systemd does: the socket holds ten messages and no more.
            heard = queue.Queue()
            threading.Thread(target=self.listen, args=(notify, heard), daemon=True).start()
            self.service.environment = {'NOTIFY_SOCKET': path, 'WATCHDOG_USEC': '200000'}
            self.service.start()

            def hear(pattern):
                while True:
                    text = heard.get(timeout=WAIT_S)
                    if pattern in text:
                        return text
            hear('READY=1')
            hear('STATUS=ready; 2 token workers')
            hear('WATCHDOG=1')
            self.service.daemon.send_signal(signal.SIGHUP)
            self.assertRegex(hear('RELOADING=1'), r'MONOTONIC_USEC=\d+')
            hear('READY=1')
            self.service.daemon.send_signal(signal.SIGTERM)
            hear('STOPPING=1')
            self.assertEqual(self.service.stop(), 0)

    def test_processes_are_confined(self):
        self.service.environment = {'SECRET_TEST': 'x', 'CREDENTIALS_DIRECTORY': '/nowhere'}
        self.service.start()
        for pid in self.service.worker_pids('store'):
            status = pathlib.Path(f'/proc/{pid}/status').read_text()
            self.assertIn('NoNewPrivs:\t1', status)
            self.assertIn('Seccomp:\t2', status)
            environ = pathlib.Path(f'/proc/{pid}/environ').read_text()
            self.assertNotIn('SECRET_TEST', environ)
            self.assertIn('CREDENTIALS_DIRECTORY', environ)
        status = pathlib.Path(f'/proc/{self.service.daemon.pid}/status').read_text()
        self.assertIn('Seccomp:\t2', status)


if __name__ == '__main__':
    unittest.main()
