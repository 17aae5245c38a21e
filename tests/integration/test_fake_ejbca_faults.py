#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The stand-in for EJBCA (tests/fake/ejbca) misbehaves as it is told, says what it has done, and
forgets nothing when it is killed."""
import base64
import datetime
import http.client
import json
import pathlib
import socket
import ssl
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))
try:
    from cryptography import x509
    from ejbca_client import BASE, WAIT_S, Case, Client, certificate, enrolment, make_csr, query, signed_by
    from fake_ejbca import FakeEjbca, Refused
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

GONE = (ConnectionError, http.client.HTTPException, ssl.SSLError, socket.timeout)
SHORT_S = 0.2  # how long a client waits for an answer that does not come, once its request is there


def wait_for(what):
    end = time.monotonic() + WAIT_S
    while not what():
        if time.monotonic() > end:
            raise AssertionError('it did not happen')
        time.sleep(0.005)


class Waiting(Case):
    def unanswered(self, name, arrived):
        """An enrolment that is not answered while its client waits, which begins when it has arrived."""
        client = self.client()
        client.search(query('x'))  # it is connected
        client.connection.request('POST', BASE + '/v1/certificate/pkcs10enroll', json.dumps(enrolment(name)),
                                  {'Content-Type': 'application/json'})
        wait_for(arrived)
        client.connection.sock.settimeout(SHORT_S)
        with self.assertRaises(GONE):
            client.connection.getresponse()
        client.close()


class Faults(Waiting):
    def only(self, kind, **rule):
        self.fake.set(faults=[{'fault': kind, **rule}])

    def test_answers_instead_of_a_certificate(self):
        self.only('answer', status=503)
        self.refused(self.ra.enroll('none'), 503, 'Device was unavailable.')
        self.only('answer', status=400, message='Something odd.')
        self.refused(self.ra.enroll('none'), 400, 'Something odd.')
        self.only('empty', status=500)
        answer = self.ra.enroll('none')
        self.assertEqual((answer.status, answer.body, answer.headers['Content-Type']),
                         (500, b'', None))
        for status in (200, 502):
            self.only('html', status=status)
            answer = self.ra.enroll('none')
            self.assertEqual((answer.status, answer.headers['Content-Type']),
                             (status, 'text/html;charset=UTF-8'))
        self.assertEqual(self.fake.certificates('none'), [])

    def test_connections_are_cut(self):
        for kind, count in (('cut_before', 0), ('cut_after', 1), ('cut_during', 1)):
            with self.subTest(kind):
                self.only(kind, times=1)
                cut = self.fake.state()['connections']['cut']
                with self.assertRaises(GONE):
                    self.ra.enroll(kind)
                self.assertEqual(len(self.fake.certificates(kind)), count)
                self.assertEqual(self.fake.state()['connections']['cut'], cut + 1)
                self.assertEqual(self.ra.enroll(kind).status, 201)

    def test_answers_do_not_come(self):
        for kind, count in (('hang_before', 0), ('hang_after', 1)):
            with self.subTest(kind):
                self.only(kind, times=1)
                self.unanswered(kind, lambda: self.fake.state()['faults'].get(kind))
                self.assertEqual(len(self.fake.certificates(kind)), count)
                self.assertEqual(self.ra.enroll(kind).status, 201)
        wait_for(lambda: self.fake.state()['connections']['open'] == 1)
        self.assertEqual(self.fake.state()['in_flight'], 0)

    def test_answers_are_spoilt_and_the_certificate_is_there(self):
        self.only('truncated_json')
        with self.assertRaises(json.JSONDecodeError):
            self.ra.enroll('truncated').json
        self.only('wrong_json')
        self.assertEqual(self.ra.enroll('wrong').json, {'certificate': 17, 'serial_number': None})
        self.only('wrong_json', body='[]')
        self.assertEqual(self.ra.enroll('list').json, [])
        self.only('html_after', status=504)
        answer = self.ra.enroll('gateway')
        self.assertEqual((answer.status, answer.headers['Content-Type']),
                         (504, 'text/html;charset=UTF-8'))
        self.only('huge', bytes=3000000)
        self.assertGreater(len(self.ra.enroll('huge').body), 2999000)
        for name in ('truncated', 'wrong', 'list', 'gateway', 'huge'):
            self.assertEqual(len(self.fake.certificates(name)), 1, name)

    def test_answers_are_slow(self):
        start = time.monotonic()
        self.only('slow', ms=60)
        self.assertEqual(self.ra.enroll('slow').status, 201)
        self.only('drip', ms=1, calls='status')
        answer = self.ra.call('GET', '/v1/ca/status')
        self.assertGreater(time.monotonic() - start, 0.06 + len(answer.body) * 0.0005)
        self.assertEqual(answer.json['status'], 'OK')

    def wrong(self, kind):
        """What an enrolment with this fault gives: certificate, chain, and the key asked for."""
        self.only(kind)
        pem, key = make_csr(kind)
        answer = self.ra.enroll(kind, csr=pem, include_chain=True)
        self.assertEqual(answer.status, 201)
        said = answer.json
        one, = self.fake.certificates(kind, der=True)
        self.assertEqual((one['der'], one['serial']), (said['certificate'], said['serial_number']))
        return (certificate(said['certificate']), [certificate(c) for c in said['certificate_chain']],
                key.public_key().public_numbers())

    def test_certificates_are_wrong(self):
        now = datetime.datetime.utcnow()
        leaf, chain, key = self.wrong('wrong_key')
        self.assertNotEqual(leaf.public_key().public_numbers(), key)
        self.assertTrue(signed_by(leaf, chain[0]))
        leaf, chain, key = self.wrong('wrong_subject')
        self.assertEqual(leaf.subject.rfc4514_string(), 'C=SE,O=Example,CN=somebody else')
        self.assertEqual(leaf.public_key().public_numbers(), key)
        leaf, chain, key = self.wrong('wrong_issuer')
        self.assertNotEqual(leaf.issuer, chain[0].subject)
        leaf, chain, key = self.wrong('forged_issuer')
        self.assertEqual((leaf.issuer, signed_by(leaf, chain[0])), (chain[0].subject, False))
        leaf, chain, key = self.wrong('bad_signature')
        self.assertEqual((leaf.issuer, signed_by(leaf, chain[0])), (chain[0].subject, False))
        leaf, chain, key = self.wrong('expired_certificate')
        self.assertLess(leaf.not_valid_after, now)
        leaf, chain, key = self.wrong('expired_chain')
        self.assertLess(chain[0].not_valid_after, now)
        self.assertEqual((signed_by(leaf, chain[0]), signed_by(chain[0], chain[1])), (True, True))
        leaf, chain, key = self.wrong('wrong_chain')
        self.assertEqual([c.subject.rfc4514_string() for c in chain], ['C=SE,O=Elsewhere,CN=OtherCA'])

    def test_a_serial_number_is_repeated(self):
        before = self.ra.enroll('serial').json['serial_number']
        leaf, chain, _ = self.wrong('repeated_serial')
        self.assertEqual(f'{leaf.serial_number:X}', before)
        self.assertTrue(signed_by(leaf, chain[0]))

    def test_certificates_with_one_serial_number_have_one_status(self):
        def reasons():
            return [c['reason'] for c in self.fake.certificates()]
        before = self.ra.enroll('first').json['serial_number']
        self.fake.set(faults=[{'fault': 'repeated_serial'}])
        self.ra.enroll('second')
        self.assertEqual(self.ra.revoke(before, 'SUPERSEDED').status, 200)
        self.ra.enroll('third')
        self.assertEqual(len(set(reasons()[-3:])), 1, reasons())
        self.assertEqual(self.ra.revoke(before, 'SUPERSEDED').status, 409)
        self.fake.no_faults()
        self.assertFalse(self.ra.revocation(self.ra.enroll('fourth').json['serial_number']).json['revoked'])
        # Another CA's is another number, and revoked under its name.
        self.fake.set(faults=[{'fault': 'wrong_issuer', 'times': 1}, {'fault': 'repeated_serial'}])
        self.ra.enroll('elsewhere')
        here = self.ra.enroll('here').json['serial_number']
        self.assertEqual(self.ra.revoke(here, 'SUPERSEDED').status, 200)
        self.assertEqual([c['status'] for c in self.fake.certificates()[-2:]], ['active', 'revoked'])
        self.assertEqual(self.ra.revoke(here, 'SUPERSEDED', issuer='CN=OtherCA,O=Elsewhere,C=SE').status, 200)
        self.assertEqual([c['status'] for c in self.fake.certificates()[-2:]], ['revoked', 'revoked'])
        self.fake.no_faults()
        self.fake.kill()  # and so after a restart
        self.fake.start()
        self.assertEqual(len(set(reasons()[-6:-3])), 1, reasons())
        self.assertEqual([c['status'] for c in self.fake.certificates()[-3:]], ['active', 'revoked', 'revoked'])


class Rules(Case):
    def test_a_rule_strikes_when_it_says(self):
        def statuses(count, **rule):
            self.fake.set(faults=[{'fault': 'answer', 'calls': 'status', 'status': 503, **rule}])
            return [self.ra.call('GET', '/v1/ca/status').status for _ in range(count)]
        self.assertEqual(statuses(4, skip=1, times=2), [200, 503, 503, 200])
        self.assertEqual(statuses(6, up=2, down=1), [200, 200, 503, 200, 200, 503])
        self.assertEqual(statuses(2, calls=['s*', 'x']), [503, 503])
        self.assertEqual(statuses(2, calls='*', username='dev-*'), [200, 200])
        self.assertEqual(statuses(1, up_ms=60000, down_ms=60000), [200])
        self.assertEqual(statuses(1, down_ms=60000), [503])
        self.assertEqual(self.fake.state()['faults'], {'answer': 7})

    def test_a_rule_that_is_added_leaves_the_others_counting(self):
        self.fake.fault('answer', calls='status', times=1)
        statuses = [self.ra.call('GET', '/v1/ca/status').status]
        self.fake.fault('empty', calls='status', status=500)
        statuses += [self.ra.call('GET', '/v1/ca/status').status for _ in range(2)]
        self.assertEqual(statuses, [503, 500, 500])
        with self.assertRaises(Refused):
            self.fake.fault('nothing')

    def test_usernames_are_told_apart(self):
        self.fake.fault('answer', username='odd-*')
        self.assertEqual([self.ra.enroll(name).status for name in ('odd-1', 'even-1')], [503, 201])

    def test_chance_does_not_depend_on_the_order(self):
        def struck(names, seed=7):
            self.fake.set(seed=seed, faults=[{'fault': ['answer', 'empty'], 'calls': 'search',
                                              'probability': 0.3}])
            return {name for name in names if self.ra.call(
                'POST', '/v1/certificate/search', {'username': name, 'max_number_of_results': 1,
                                                   'criteria': [query(name)]}).status == 503}
        names = [f'chance-{i}' for i in range(100)]
        first = struck(names)
        self.assertGreater(len(first), 10)
        self.assertLess(len(first), 60)
        self.assertEqual(struck(reversed(names)), first)
        faults = self.fake.state()['faults']
        self.assertEqual(set(faults), {'answer', 'empty'})
        self.assertEqual(sum(faults.values()), 2 * len(first))
        self.assertNotEqual(struck(names, seed=8), first)

    def test_settings_that_are_none_are_refused(self):
        for bad in ({'latency': 1}, {'latency_ms': 'x'}, {'limit': {'x': 1}}, {'cas': {'X': {}}},
                    {'faults': [{'fault': 'x'}]}, {'faults': [{}]},
                    {'faults': [{'fault': 'html', 'x': 1}]},
                    {'faults': [{'fault': 'html', 'times': 'x'}]}):
            before = self.fake.settings()
            with self.assertRaises(Refused):
                self.fake.set(**{'jitter_ms': 1, **bad})
            self.assertEqual(self.fake.settings(), before)


class Load(Waiting):
    def setUp(self):
        super().setUp()
        wait_for(lambda: self.fake.state()['in_flight'] == 0)

    def at_once(self, count, path='/v1/ca/status'):
        """Statuses of so many requests from connections of their own, and how long it took."""
        clients = [self.client() for _ in range(count)]
        for client in clients:
            client.search(query('x'))
        found = []
        threads = [threading.Thread(target=lambda c=client: found.append(c.call('GET', path)))
                   for client in clients]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [answer.status for answer in found], time.monotonic() - start

    def test_workers_take_one_after_the_other(self):
        self.fake.set(workers=1, faults=[{'fault': 'slow', 'ms': 40, 'calls': 'status'}])
        statuses, seconds = self.at_once(3)
        self.assertEqual(statuses, [200] * 3)
        self.assertGreater(seconds, 0.11)
        self.assertEqual(self.fake.state()['in_flight'], 0)

    def test_strain_makes_it_slower(self):
        self.fake.set(latency_ms=20, strain_percent=200)
        self.assertGreater(self.at_once(3)[1], 0.059)

    def test_what_is_too_much_is_refused(self):
        self.ra.call('GET', '/v1/ca/status')
        self.fake.set(faults=[{'fault': 'slow', 'ms': 3000, 'calls': 'ca'}],
                      limit={'in_flight': 1, 'status': 429, 'retry_after_s': 7})
        slow = threading.Thread(target=self.client().call, args=('GET', '/v1/ca'))
        slow.start()
        wait_for(lambda: self.fake.state()['in_flight'] == 1)
        answer = self.ra.call('GET', '/v1/ca/status')
        self.assertEqual((answer.status, answer.headers['Retry-After'], answer.body), (429, '7', b''))
        slow.join()

    def test_a_rate_is_not_passed(self):
        self.fake.set(limit={'rate_per_s': 1})
        statuses = []
        wait_for(lambda: statuses.append(self.ra.call('GET', '/v1/ca/status').status) or 503 in statuses)
        self.assertEqual(statuses[0], 200)

    def test_a_node_goes_away_and_comes_back(self):
        self.ra.call('GET', '/v1/ca/status')
        self.fake.set(listen=False)
        with self.assertRaises(GONE):
            self.ra.call('GET', '/v1/ca/status')
        with self.assertRaises(ConnectionRefusedError):
            self.ra.call('GET', '/v1/ca/status')
        self.fake.set(listen=True)
        self.assertEqual(self.ra.call('GET', '/v1/ca/status').status, 200)

    def test_who_leaves_gets_a_certificate_all_the_same(self):
        self.fake.set(latency_ms=3000)
        self.unanswered('left', lambda: self.fake.state()['in_flight'] == 1)
        wait_for(lambda: self.fake.certificates('left'))
        self.assertFalse(self.fake.certificates('left')[0]['answered'])
        self.assertEqual(self.fake.state()['unanswered'], 1)

    def test_enrolments_of_one_username_at_once_are_counted_and_may_fail(self):
        for locked in (False, True):
            with self.subTest(locked):
                connected = self.client()
                connected.search(query('x'))
                self.fake.set(row_lock=locked, faults=[{'fault': 'slow', 'ms': 2000, 'times': 1}])
                found, pem = [], make_csr('twice')[0]
                first = threading.Thread(
                    target=lambda: found.append(self.client().enroll('twice', csr=pem).status))
                first.start()
                wait_for(lambda: self.fake.state()['in_flight'] == 1)
                second = connected.enroll('twice', csr=pem)
                first.join()
                self.assertEqual((found.pop(), second.status), (201, 500 if locked else 201))
        self.assertEqual(self.fake.state()['overlaps'], 2)
        self.assertEqual(self.ra.enroll('twice').status, 201)
        self.assertEqual(self.fake.state()['overlaps'], 2)

    def test_work_may_be_done_first(self):
        self.fake.set(issue_first=True, latency_ms=3000)
        self.unanswered('first', lambda: self.fake.state()['in_flight'] == 1)
        self.assertEqual(len(self.fake.certificates('first')), 1)


class State(Case):
    def test_counts_and_requests_are_seen(self):
        self.ra.enroll('seen')
        self.ra.search(query('seen'))
        self.ra.call('GET', '/v1/nothing')
        state = self.fake.state()
        self.assertEqual((state['requests'], state['issued'], state['in_flight']), (3, 1, 0))
        self.assertEqual(state['calls'], {'pkcs10enroll': 1, 'search': 1, 'other': 1})
        self.assertEqual(state['statuses'], {'200': 1, '201': 1, '404': 1})
        self.assertEqual([(one['call'], one['status'], one['client'])
                          for one in self.fake.requests()],
                         [('pkcs10enroll', 201, 'ra'), ('search', 200, 'ra'), ('', 404, 'ra')])
        one, = self.fake.certificates('seen', der=True)
        leaf = certificate(one['der'])
        self.assertEqual((one['subject'], one['ca'], one['status'], one['answered']),
                         ('CN=seen,O=Example', 'IssuingCA', 'active', True))
        self.assertEqual(one['serial'], f'{leaf.serial_number:X}')

    def test_a_kill_loses_nothing(self):
        with FakeEjbca(cas=['PAI=CN=Example PAI,VID=FFF1']) as fake:
            ra = Client(fake)
            pem = make_csr('kept')[0]
            serial = ra.enroll('kept', csr=pem, certificate_authority_name='PAI').json[
                'serial_number']
            ra.revoke(serial, 'SUPERSEDED', 'CN=Example PAI,VID=FFF1')
            ra.enroll('kept', certificate_authority_name='PAI')
            fake.set(cas={'IssuingCA': {'status': 'offline'}})
            before = [{**one, 'answered': None} for one in fake.certificates(der=True)]
            self.assertEqual(len(before), 2)
            ports = fake.port, fake.control_port
            fake.kill()
            with open(fake.dir / 'journal', 'ab') as journal:
                journal.write(b'{"issued": "cut o')
            ra.close()
            fake.start()
            self.assertEqual((fake.port, fake.control_port), ports)
            self.assertEqual([{**one, 'answered': None} for one in fake.certificates(der=True)],
                             before)
            self.assertEqual(fake.state()['doubles'], 1)
            answer = ra.enroll('other', csr=pem, certificate_authority_name='PAI')
            self.assertEqual(answer.status, 400)
            self.assertTrue(ra.revocation(serial, 'CN=Example PAI,VID=FFF1').json['revoked'])
            self.assertIn('offline', ra.enroll('x').json['error_message'])
            fake.set(cas={'IssuingCA': {'status': 'active'}})
            self.assertEqual(ra.enroll('after').status, 201)
            ra.close()
            self.assertEqual(fake.stop(), 0)


if __name__ == '__main__':
    unittest.main(verbosity=2)
