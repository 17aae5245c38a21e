#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mintmark-verify ledger: a good ledger is proved; each kind of tampering, and each thing that an
appliance must not have done, is found and named."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GENERATED = tempfile.TemporaryDirectory()
subprocess.run(['protoc', f'--proto_path={ROOT}/proto', f'--python_out={GENERATED.name}',
                *(f'mintmark/v1/{n}.proto' for n in ('types', 'document', 'ledger', 'account'))],
               check=True)
sys.path.insert(0, GENERATED.name)
sys.path.insert(0, str(ROOT / 'tests/support'))

from mintmark.v1 import account_pb2, ledger_pb2  # noqa: E402
from audit import Mutations, verify  # noqa: E402
from plant import DAY_MS, HOUR_MS, NOON_MS, Plant, Signer, framed, sha256  # noqa: E402

TERMS = dict(per_batch_max=500, per_day_max=600, stations=['station', 'station-2'],
             unreported_devices_max=900, report_within_hours=72, replacements_max=3)


class Base(unittest.TestCase, Mutations):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        self.plant = Plant(self.dir)

    def good(self):
        """A ledger in which everything happens that may."""
        p = self.plant
        p.start()
        p.order(**TERMS)
        p.checkpoint()
        p.open(quantity=400)
        p.spend(30)
        p.spend(20, request='second')
        p.report(ko=5, ok=30)
        p.order('other', quantity=50)
        p.change('SUSPEND', 'other')
        p.change('RESUME', 'other')
        p.change('LOWER', 'other', quantity=40, not_after_time_ms=NOON_MS + DAY_MS)
        p.open('small', 'other', 10)
        p.spend(10, 'small', request='third')
        p.accept(receipt=dict(devices=40))
        p.release()
        p.sign_report()
        p.checkpoint()
        p.delete_keys()
        p.start(unclean=True)
        p.lock()
        p.unlock()
        p.checkpoint(baseline=True)
        p.accept('other', revocation=dict(reason='contract ended'))
        p.change('CLOSE')
        p.checkpoint()
        return p

    def judge(self, path, *options):
        return verify('ledger', path, *self.plant.trust(), *options)

    def expect(self, path, *codes, options=()):
        """Exactly these findings."""
        status, said = self.judge(path, *options)
        self.assertEqual((status, sorted(said['by_code'])), (1 if codes else 0, sorted(codes)),
                         said['first_findings'])
        return said


class AuditKey(Base):
    """Which key may sign from where on."""

    def produced(self):
        """A ledger up to a change; what the auditor knows is the first certificate."""
        p = self.plant
        p.start()
        p.order()
        p.checkpoint()
        p.open()
        p.spend(5)
        self.first = p.audit
        return p

    def judge(self, path, *options):
        trust = self.plant.trust()
        trust[1] = self.first.path
        return verify('ledger', path, *trust, *options)

    def test_a_ledger_that_spans_keys_is_proved_from_the_first_certificate(self):
        p = self.produced()
        p.release()
        p.change_key()
        p.checkpoint()
        report = p.sign_report()
        p.change_key('audit-3')
        p.checkpoint()
        said = self.expect(p.export(), options=[report])
        self.assertEqual(said['facts']['audit_key_changes'], 2)
        self.assertIn('2 times the audit key changed', '\n'.join(said['proved']))
        self.assertIn('1 reports, with 5 devices', '\n'.join(said['proved']))

    def test_a_report_under_way_while_the_key_changes(self):
        p = self.produced()
        p.release()
        p.change_key()
        self.expect_with(p.sign_report(signer=self.first))

    def expect_with(self, report, *codes):
        return self.expect(self.plant.export(), *codes, options=[report])

    def test_a_report_by_a_key_that_was_gone_before_the_release(self):
        p = self.produced()
        p.change_key()
        p.release()
        p.sign_report(signer=self.first)
        self.expect(p.export(), 'REPORT_NOT_SIGNED')

    def test_an_export_that_begins_after_the_change(self):
        p = self.produced()
        p.change_key()
        p.checkpoint()
        first = len(p.records) + 1
        p.spend(5, request='second')
        path = p.export(list(p.items(first)))
        self.expect(path, 'CHECKPOINT_BAD', 'SIGNER_UNKNOWN')
        self.first = p.audit
        self.expect(path)

    def test_without_a_change_no_other_key_signs(self):
        p = self.produced()
        both = self.dir / 'both.pem'
        other = Signer(self.dir, 'audit-2')
        both.write_bytes(self.first.path.read_bytes() + other.path.read_bytes())
        p.checkpoint(signer=other)
        path = p.export()
        self.expect(path, 'CHECKPOINT_BAD')
        self.first.path = both
        self.expect(path, 'AUDIT_KEY_UNJUSTIFIED')
        self.expect(p.export(signer=other), 'AUDIT_KEY_UNJUSTIFIED')

    def test_the_former_key_signs_nothing_after_it(self):
        p = self.produced()
        p.change_key()
        p.checkpoint(signer=self.first)
        self.expect(p.export(), 'AUDIT_KEY_UNJUSTIFIED')
        self.expect(p.export(signer=self.first), 'AUDIT_KEY_UNJUSTIFIED')

    def test_after_an_unlock_the_auditor_must_name_the_key(self):
        p = self.produced()
        p.lock()
        p.unlock()
        p.audit = Signer(self.dir, 'audit-2')
        p.checkpoint(baseline=True)
        path = p.export()
        self.expect(path, 'CHECKPOINT_BAD', 'SIGNER_UNKNOWN')
        both = self.dir / 'both.pem'
        both.write_bytes(p.audit.path.read_bytes() + self.first.path.read_bytes())
        self.first.path = both
        said = self.expect(path)
        self.assertIn("no key before it handed over", '\n'.join(said['not_proved']))

    def test_forged_changes(self):
        """An insider with the database and keys of his own, but not the audit key."""
        forger = Signer(self.dir, 'forger')
        other = Signer(self.dir, 'other')
        ca = Signer(self.dir, 'stranger')
        for name, change in (
                ('by his own key', dict(former=forger)),
                ('in the name of the audit key',
                 dict(former=forger, former_key_sha256=Signer(self.dir, 'x').hash)),
                ('that the new key has not accepted', dict(accepted=forger)),
                ('of another ledger', dict(ledger_id=b'x' * 16)),
                ('of a place to come', dict(sequence=10000)),
                ('of no place', dict(sequence=0)),
                ('to nothing', dict(certificate=b'none')),
                ('whose record names another certificate',
                 dict(record=dict(certificate_sha256=sha256(ca.der())))),
                ('whose record names another former key',
                 dict(record=dict(former_key_sha256=other.hash))),
                ('whose document is empty', dict(record=dict(document=b''))),
                ('to the same key', dict(same=True))):
            with self.subTest(name):
                folder = tempfile.TemporaryDirectory()
                self.addCleanup(folder.cleanup)
                self.plant = Plant(folder.name)
                p = self.produced()
                if change.pop('same', False):
                    change['signer'] = p.audit
                p.change_key(**change)
                p.checkpoint()
                status, said = self.judge(p.export())
                self.assertEqual(status, 1)
                self.assertIn('AUDIT_KEY_UNJUSTIFIED', said['by_code'], said['first_findings'])

    def test_a_change_by_a_key_that_was_gone(self):
        p = self.produced()
        p.change_key()
        p.change_key('audit-3', former=self.first)
        p.audit = Signer(self.dir, 'audit-4')
        self.assertIn('AUDIT_KEY_UNJUSTIFIED', self.judge(p.export())[1]['by_code'])


class Good(Base):
    def test_everything_is_proved(self):
        self.good()
        said = self.expect(self.plant.export())
        facts = said['facts']
        self.assertEqual((facts['devices'], facts['orders'], facts['batches'], facts['unlocks']),
                         (60, 2, 2, 1))
        proved = '\n'.join(said['proved'])
        for sentence in ('follow each other without a gap', "audit key signed this file",
                         '4 checkpoints', 'No order, batch or day is overspent',
                         '6 signed documents', '1 reports were signed', '1 unlocks are signed',
                         '60 devices are those that were recorded'):
            self.assertIn(sentence, proved)
        unproved = '\n'.join(said['not_proved'])
        self.assertIn('--since', unproved)
        self.assertIn('LEDGER_ROLLED_BACK', unproved)
        self.assertIn('Which devices each of', unproved)

    def test_what_was_not_given_is_said(self):
        self.good()
        path = self.plant.export([i for i in self.plant.items() if not i.HasField('devices') and
                                  not i.HasField('document')])
        status, said = verify('ledger', path, '--audit', self.plant.audit.path)
        self.assertEqual((status, said['by_code']), (0, {}))
        unproved = '\n'.join(said['not_proved'])
        for sentence in ('public keys and serial numbers were not compared', 'no --oem',
                         '7 signed documents that records name', 'no --identity', 'no --officers'):
            self.assertIn(sentence, unproved)
        self.assertNotIn('devices are those', '\n'.join(said['proved']))

    def test_an_export_from_a_checkpoint_on(self):
        p = self.good()
        first = next(s for s, items in sorted(p.after.items())
                     if any(i.HasField('checkpoint') for i in items)) + 1
        said = self.expect(p.export(list(p.items(first))))
        self.assertIn('overspent', '\n'.join(said['proved']))
        # Without the checkpoint there is nothing to count from.
        said = self.expect(p.export([i for i in p.items(first) if not i.HasField('checkpoint')]))
        self.assertIn('The sums of orders', '\n'.join(said['not_proved']))
        self.assertNotIn('overspent', '\n'.join(said['proved']))

    def test_serial_numbers_of_two_profiles_in_a_part_of_a_ledger(self):
        p = self.plant
        p.start()
        p.order('one')
        p.order('two', profile='idevid')
        p.open('a', 'one')
        p.checkpoint()
        first = len(p.records) + 1
        p.open('b', 'two')
        p.spend(1, 'a', request='r1', changed={0: {'hw_serial': 'SN1'}})
        p.spend(1, 'b', request='r2', changed={0: {'hw_serial': 'SN1'}})
        said = self.expect(p.export(list(p.items(first))))
        self.assertIn('1 batches that were opened before', '\n'.join(said['not_proved']))
        p.spend(1, 'b', request='r3', changed={0: {'hw_serial': 'SN1'}})
        self.expect(p.export(list(p.items(first))), 'DUPLICATE_HW_SERIAL')

    def test_goes_on_from_what_was_kept(self):
        p = self.plant
        p.start()
        p.order()
        kept = self.dir / 'kept'
        kept.write_bytes(p.checkpoint())
        older = p.export(name='older')
        p.open()
        p.spend()
        said = self.expect(p.export(), options=['--since', kept, '--since', older])
        self.assertEqual(sum('names: nothing before it was changed' in s
                             for s in said['proved']), 2)
        # An export that begins right after it.
        first = len(p.records) - 1
        said = self.expect(p.export(list(p.items(first))), options=['--since', kept])
        self.assertTrue(any('names: nothing' in s for s in said['proved']))

    def test_usage_and_unreadable_files(self):
        p = self.good()
        path, trust = p.export(), p.trust()
        nothing = self.dir / 'nothing'
        nothing.write_bytes(b'')
        for arguments, status, text in (
                ([path], 64, '--audit is missing'), ([*trust], 64, 'takes one file'),
                ([path, *trust, '--frob'], 64, 'unknown option'),
                ([self.dir / 'none', *trust], 65, 'No such file'),
                ([path, '--audit', path], 65, 'must hold certificates'),
                ([path, *trust, '--since', self.dir / 'none'], 65, 'No such file'),
                ([path, *trust, '--since', nothing], 65, 'neither a checkpoint nor'),
                ([path, *trust, '--since', p.audit.path], 65, 'neither a checkpoint nor'),
                ([path, '--audit', p.oem.path, '--since', path], 65, 'self-signed certificate'),
                (['--help'], 0, '')):
            done = verify('ledger', *arguments, json_output=False)
            self.assertEqual(done.returncode, status, arguments)
            self.assertIn(text, done.stderr)
        done = verify('ledger', path, *trust, json_output=False)
        self.assertIn('\nProved:\n', done.stdout)
        self.assertTrue(done.stdout.endswith('OK: all that could be checked is right\n'))


class Tampered(Base):
    """Somebody without the audit key changed the file; and then somebody with it."""

    def setUp(self):
        super().setUp()
        self.good()
        self.items = list(self.plant.items())

    def at(self, kind, n=0):
        return [i for i, item in enumerate(self.items) if item.WhichOneof('item') == kind][n]

    def write_with_old_end(self, items):
        """The statement is of the file as it was."""
        whole = self.plant.export(self.items).read_bytes()
        size = sum(len(framed(i)) for i in self.items)
        path = self.dir / 'export'
        path.write_bytes(b''.join(map(framed, items)) + whole[size:])
        return path

    def test_a_changed_record(self):
        for n in (0, 5, 12):
            items = list(self.items)
            at = self.at('record', n)
            record = ledger_pb2.LedgerRecord.FromString(items[at].record)
            record.time_ms += 1 if n else 0
            if n == 0:
                record.genesis.version = 'other'
            items[at] = account_pb2.LedgerExportItem(record=record.SerializeToString())
            said = self.expect(self.write_with_old_end(items), 'LEDGER_EDITED', 'EXPORT_CHANGED')
            self.assertEqual(said['first_findings'][0]['where'], f'record {n + 2}')
            self.expect(self.plant.export(items), 'LEDGER_EDITED')

    def test_a_missing_record(self):
        # One whose absence changes no sum.
        at = next(i for i, item in enumerate(self.items) if item.WhichOneof('item') == 'record' and
                  ledger_pb2.LedgerRecord.FromString(item.record).WhichOneof('event') ==
                  'report_signed')
        items = self.items[:at] + self.items[at + 3:]
        said = self.expect(self.write_with_old_end(items), 'LEDGER_GAP', 'EXPORT_CHANGED')
        number = ledger_pb2.LedgerRecord.FromString(self.items[at].record).sequence
        self.assertEqual(said['first_findings'][0]['where'], f'record {number + 1}')
        self.expect(self.plant.export(items), 'LEDGER_GAP')

    def test_a_record_that_is_there_twice(self):
        at = self.at('record', 8)
        self.expect(self.plant.export(self.items[:at] + [self.items[at]] + self.items[at:]),
                    'LEDGER_FORKED')
        self.assertIn('export', str(self.plant.export()))

    def test_records_in_another_order(self):
        a, b = self.at('record', 9), self.at('record', 10)
        items = list(self.items)
        items[a], items[b] = items[b], items[a]
        status, said = self.judge(self.write_with_old_end(items))
        self.assertEqual(status, 1)
        self.assertTrue({'LEDGER_GAP', 'LEDGER_EDITED'} <= set(said['by_code']))

    def test_a_tail_that_was_cut_off(self):
        cut = self.at('record', 20)
        self.expect(self.write_with_old_end(self.items[:cut]), 'LEDGER_TRUNCATED', 'EXPORT_CHANGED')
        said = self.expect(self.plant.export(self.items[:cut], end=False), 'LEDGER_TRUNCATED',
                           'EXPORT_CUT')
        self.assertIn('after record 20', said['first_findings'][0]['what'])
        # In the middle of an item.
        path = self.plant.export()
        path.write_bytes(path.read_bytes()[:-10])
        self.expect(path, 'EXPORT_CUT')
        path.write_bytes(self.plant.export().read_bytes() + b'\0\0\0\1')
        self.expect(path, 'EXPORT_CUT')

    def test_an_older_state_that_the_audit_key_signed(self):
        p = self.plant
        kept = self.dir / 'kept'
        kept.write_bytes(p.checkpoint())
        newer = p.export(name='newer')
        p.records = p.records[:-3]
        p.after = {s: items for s, items in p.after.items() if s <= len(p.records)}
        self.expect(p.export())  # nothing in the file shows it
        said = self.expect(p.export(), 'LEDGER_TRUNCATED', options=['--since', kept])
        self.assertIn('knows of record', said['first_findings'][0]['what'])
        self.expect(p.export(), 'LEDGER_TRUNCATED', options=['--since', newer])

    def test_an_older_state_that_went_on_otherwise(self):
        p = self.plant
        kept = self.dir / 'kept'
        at = len(p.records)
        kept.write_bytes(p.checkpoint())
        p.records = p.records[:-1]
        p.after.pop(at)
        p.order('instead')
        p.start()
        self.expect(p.export(), 'LEDGER_FORKED', options=['--since', kept])

    def test_another_ledger(self):
        p = self.plant
        header = account_pb2.LedgerExportHeader(format=1, first_sequence=1, previous=bytes(32),
                                                last_sequence=len(p.records), ledger_id=bytes(16))
        items = [account_pb2.LedgerExportItem(header=header)] + self.items[1:]
        self.expect(p.export(items), 'LEDGER_FOREIGN', 'UNLOCK_BAD')

    def test_a_statement_by_somebody_else_or_about_something_else(self):
        p = self.plant
        self.expect(p.export(signer=Signer(self.dir, 'stranger')), 'SIGNER_UNKNOWN')
        self.expect(p.export(sha256=bytes(32)), 'EXPORT_CHANGED')
        self.expect(p.export(records=1), 'EXPORT_CHANGED')
        self.expect(p.export(devices=1), 'EXPORT_CHANGED')
        self.expect(p.export(head=bytes(32)), 'LEDGER_FORKED')
        self.expect(p.export(last_sequence=len(p.records) + 1), 'LEDGER_TRUNCATED')
        self.expect(p.export(ledger_id=bytes(16)), 'LEDGER_FOREIGN')
        p.audit = Signer(self.dir, 'audit', end=2021)
        self.assertIn('SIGNER_EXPIRED', self.judge(p.export())[1]['by_code'])

    def test_changed_devices(self):
        at = self.at('devices')

        def changed(change):
            items = [account_pb2.LedgerExportItem.FromString(i.SerializeToString())
                     for i in self.items]
            change(items[at].devices.devices)
            return self.plant.export(items)
        for field, value in (('uid', bytes(16)), ('spki_sha256', bytes(32)), ('number', 77),
                             ('serial', b'\1'), ('hw_serial', 'X')):
            self.expect(changed(lambda d, f=field, v=value: setattr(d[3], f, v)), 'DEVICES_CHANGED')
        self.expect(changed(lambda d: d.pop()), 'DEVICES_CHANGED')
        self.expect(changed(lambda d: d.reverse()), 'DEVICES_CHANGED')
        # Its state is not bound by the record; the statement binds it.
        path = self.write_with_old_end(self.items[:at] + [changed_state(self.items[at])] +
                                       self.items[at + 1:])
        self.expect(path, 'EXPORT_CHANGED')

    def test_items_that_are_out_of_place(self):
        p, first = self.plant, self.items[0]
        for items in ([first, first] + self.items[1:], *(
                self.items + [self.items[self.at(kind)]]
                for kind in ('devices', 'document', 'checkpoint'))):
            self.expect(p.export(items), 'EXPORT_FORM')
        path = p.export()
        path.write_bytes(path.read_bytes() + framed(first))
        self.expect(path, 'EXPORT_FORM')
        status, said = self.judge(p.export(self.items[:1]))
        self.assertIn('EXPORT_FORM', said['by_code'])
        path.write_bytes(b'\0\0\0\2\x08\x01')
        self.assertEqual(self.judge(path)[0], 1)
        path.write_bytes(b'')
        self.assertIn('EXPORT_CUT', self.judge(path)[1]['by_code'])

    def test_an_item_that_would_become_too_much_memory(self):
        device = account_pb2.LedgerExportItem()
        device.devices.devices.add()
        for count, what in ((10, 'devices follow that belong to no record'), (1 << 20, 'no item of an export')):
            # 2 bytes of the file each, a hundred and more in memory.
            items = list(self.items)
            items.insert(1, account_pb2.LedgerExportItem(devices=type(device.devices).FromString(
                device.devices.SerializeToString() * count)))
            status, said = self.judge(self.plant.export(items))
            first = said['first_findings'][0]
            self.assertEqual((status, first['code']), (1, 'EXPORT_FORM'))
            self.assertIn(what, first['what'])

    def test_checkpoints_by_somebody_else_or_with_other_sums(self):
        p = self.plant
        totals = list(p.totals())
        stranger = Signer(self.dir, 'stranger')
        used = [type(t).FromString(t.SerializeToString()) for t in totals]
        used[0].used -= 1
        at = len(p.records)
        good = p.after[at]
        for arguments, code in (
                (dict(signer=stranger), 'CHECKPOINT_BAD'), (dict(totals=used), 'CHECKPOINT_BAD'),
                (dict(totals=totals[:1]), 'CHECKPOINT_BAD'), (dict(devices=61), 'CHECKPOINT_BAD'),
                (dict(epoch=1), 'CHECKPOINT_BAD'), (dict(head=bytes(32)), 'LEDGER_FORKED'),
                (dict(highest_time_ms=1), 'CHECKPOINT_BAD'),
                (dict(ledger_id=bytes(16)), 'LEDGER_FOREIGN')):
            p.after[at] = []
            p.checkpoint(**arguments)
            self.expect(p.export(), code)
        p.after[at] = good
        self.expect(p.export())
        # What comes out of the records is what was signed, also without the list beside it.
        other = account_pb2.LedgerExportItem.FromString(good[0].SerializeToString())
        other.checkpoint.order_totals = b''
        p.after[at] = [other]
        self.expect(p.export())
        p.after[at] = []
        p.checkpoint(totals=used)
        p.after[at][0].checkpoint.order_totals = b''
        self.expect(p.export(), 'CHECKPOINT_BAD')
        p.after[at][0].checkpoint.order_totals = b'x'
        self.expect(p.export(), 'CHECKPOINT_BAD')

    def test_no_changed_byte_is_taken(self):
        data = self.plant.export().read_bytes()
        self.assert_no_mutation_passes(data, lambda path: ['ledger', path, *self.plant.trust()],
                                       200)


def changed_state(item):
    copy = account_pb2.LedgerExportItem.FromString(item.SerializeToString())
    copy.devices.devices[0].state = 2
    return copy


class Misbehaved(Base):
    """The chain and all signatures are right; the appliance did, or was made to do, what it must
    not."""

    def setUp(self):
        super().setUp()
        self.plant.start()

    def judge_plant(self, *codes):
        return self.expect(self.plant.export(), *codes)

    def ordered(self, **terms):
        self.plant.order(**terms)
        self.plant.open(quantity=min(terms.get('quantity', 1000), terms.get('per_batch_max') or
                                     1000))
        return self.plant

    def test_more_than_was_ordered(self):
        p = self.ordered(quantity=25)
        p.spend(20)
        p.spend(6)
        said = self.judge_plant('BATCH_FULL', 'QUOTA_EXHAUSTED')
        self.assertIn('26 units of order order are used then, which has 25',
                      said['first_findings'][0]['what'])

    def test_more_than_was_ordered_over_two_batches(self):
        p = self.ordered(quantity=25)
        p.spend(20)
        p.open('second', quantity=25)
        p.spend(6, 'second', request='r2')
        self.judge_plant('QUOTA_EXHAUSTED')

    def test_a_sum_that_hides_devices(self):
        p = self.ordered()
        p.spend(20)
        p.spend(20, order_used_after=20)
        self.judge_plant('SUM_WRONG')

    def test_more_than_a_batch_may_have(self):
        p = self.plant
        p.order(per_batch_max=15)
        p.open(quantity=16)
        self.judge_plant('ORDER_BATCH_LIMIT')

    def test_more_than_a_batch_was_opened_for(self):
        p = self.plant
        p.order()
        p.open(quantity=16)
        p.spend(17)
        self.judge_plant('BATCH_FULL')

    def test_more_than_a_day_may_have(self):
        p = self.ordered(per_day_max=30)
        p.spend(30)
        p.now_ms += DAY_MS
        p.spend(30)
        self.judge_plant()
        p.spend(1)
        self.judge_plant('ORDER_DAY_LIMIT')

    def test_days_are_utc(self):
        p = self.ordered(per_day_max=30)
        p.now_ms = NOON_MS + 12 * HOUR_MS - 2
        p.spend(30)
        p.spend(30)
        self.assertEqual(p.now_ms, NOON_MS + 12 * HOUR_MS)  # midnight
        self.judge_plant()

    def test_outside_of_validity(self):
        p = self.ordered(not_after_time_ms=NOON_MS + HOUR_MS)
        p.now_ms = NOON_MS + HOUR_MS - 1
        p.spend()
        self.judge_plant('ORDER_EXPIRED')

    def test_before_validity(self):
        self.ordered(not_before_time_ms=NOON_MS + HOUR_MS)
        self.judge_plant('ORDER_NOT_YET_VALID')

    def test_another_station(self):
        p = self.ordered(stations=['station', 'station-22'])
        p.spend(station='station-2')
        self.judge_plant('ORDER_STATION')

    def test_suspended_closed_revoked(self):
        for n, (stop, code) in enumerate(((lambda p: p.change('SUSPEND'), 'ORDER_SUSPENDED'),
                                          (lambda p: p.change('CLOSE'), 'ORDER_CLOSED'),
                                          (lambda p: p.accept(revocation=dict(reason='over')),
                                           'ORDER_REVOKED'))):
            self.plant = Plant(self.dir)
            self.ordered()
            stop(self.plant)
            self.plant.spend()
            self.judge_plant(code)

    def test_without_a_receipt(self):
        p = self.ordered(unreported_devices_max=20)
        p.spend(20)
        p.accept(receipt=dict(devices=10))
        p.spend(10, request='r2')
        self.judge_plant()
        p.spend(1, request='r3')
        self.judge_plant('ORDER_REPORT_DUE')

    def test_too_long_without_a_receipt(self):
        p = self.ordered(report_within_hours=2)
        p.now_ms += HOUR_MS
        p.spend(1)
        p.accept(receipt=dict(devices=1))
        p.now_ms += HOUR_MS + 30 * 60 * 1000
        p.spend(1, request='r2')
        self.judge_plant()
        p.now_ms += HOUR_MS
        p.spend(1, request='r3')
        self.judge_plant('ORDER_REPORT_DUE')

    def test_receipts_that_must_not_be_taken(self):
        for values, code in ((dict(devices=11), 'RECEIPT_AHEAD'),
                             (dict(devices=5, time_ms=NOON_MS + DAY_MS), 'RECEIPT_IN_FUTURE')):
            self.plant = Plant(self.dir)
            self.ordered().spend(10)
            self.plant.accept(receipt=values)
            self.judge_plant(code)
        self.plant = Plant(self.dir)
        self.ordered().spend(10)
        self.plant.accept(receipt=dict(devices=5))
        self.plant.accept(receipt=dict(devices=4))
        self.judge_plant('RECEIPT_STALE')

    def test_an_order_twice(self):
        self.ordered()
        self.plant.order(quantity=5)
        # The second one is not taken in, so that its document has nowhere to go.
        said = self.judge(self.plant.export())[1]
        self.assertEqual(said['first_findings'][0]['code'], 'ORDER_EXISTS')

    def test_an_order_for_another_appliance(self):
        self.plant.order(appliance_sha256=bytes(32))
        self.judge_plant('ORDER_OTHER_APPLIANCE')

    def test_an_order_that_the_oem_did_not_sign(self):
        self.plant.order(signer=Signer(self.dir, 'oem2'))
        said = self.judge_plant('ORDER_NOT_AS_SIGNED')
        self.assertIn('SIGNER_UNKNOWN', said['first_findings'][0]['what'])

    def test_what_the_oem_signed_is_left_out(self):
        p = self.plant
        p.order(document=False)
        said = self.judge_plant('ORDER_NOT_SIGNED')
        self.assertEqual(said['first_findings'][0]['where'], f'record {len(p.records)}')
        # Whoever names no OEM is told that nobody looked.
        status, said = verify('ledger', p.export(), '--audit', p.audit.path)
        self.assertEqual(status, 0)
        self.assertIn('1 signed documents that records name', '\n'.join(said['not_proved']))
        for document in (dict(receipt=dict(devices=0)), dict(revocation=dict(reason='so'))):
            self.plant = p = Plant(self.dir)
            p.start()
            p.order()
            p.accept(**document)
            p.after.pop(len(p.records))
            p.checkpoint()
            self.judge_plant('ORDER_NOT_SIGNED')
        # Further records behind it, as of any order.
        self.plant = p = Plant(self.dir)
        p.start()
        p.order(document=False)
        p.open()
        p.spend()
        self.judge_plant('ORDER_NOT_SIGNED')

    def test_orders_without_terms_are_of_before_the_ledger(self):
        def adopted(order_id):
            p.record(order_imported=ledger_pb2.OrderImported(
                order_id=order_id, profile='dac', quantity=1000, by='officer',
                not_before_time_ms=NOON_MS - DAY_MS, not_after_time_ms=NOON_MS + 30 * DAY_MS,
                added_time_ms=NOON_MS - DAY_MS))
        self.plant = p = Plant(self.dir)
        adopted('old')
        adopted('older')
        p.start()
        said = self.judge_plant()
        self.assertIn('2 orders of before', '\n'.join(said['not_proved']))
        adopted('made-up')
        self.judge_plant('ORDER_NOT_SIGNED')
        first = len(p.records)
        self.expect(p.export(list(p.items(first))))  # it may be one of those: nothing else is known
        p.start()
        adopted('made-up-2')
        self.expect(p.export(list(p.items(first))), 'ORDER_NOT_SIGNED')

    def test_an_order_that_came_in_later_than_its_record(self):
        # So would its duty to report begin later.
        self.plant.order(report_within_hours=1, recorded=dict(added_time_ms=NOON_MS + 9 * DAY_MS))
        self.judge_plant('LEDGER_EDITED')

    def test_an_order_that_is_not_what_was_signed(self):
        p = self.plant
        p.order(recorded=dict(quantity=2000))
        self.judge_plant('ORDER_NOT_AS_SIGNED')
        self.plant = p = Plant(self.dir)
        p.order()
        record = ledger_pb2.LedgerRecord.FromString(p.records[-1])
        terms = record.order_imported.terms
        terms.quantity = 2000
        other = ledger_pb2.OrderImported.FromString(record.order_imported.SerializeToString())
        other.quantity = 2000
        documents = p.after.pop(len(p.records))
        p.records.pop()
        p.record(order_imported=other)
        p.after[len(p.records)] = documents
        self.judge_plant('ORDER_NOT_AS_SIGNED')

    def test_a_document_that_is_not_the_one_that_was_named(self):
        p = self.plant
        p.order(recorded=dict(document_sha256=bytes(32)))
        self.judge_plant('ORDER_NOT_AS_SIGNED')
        self.plant = p = Plant(self.dir)
        p.order(name='CN=somebody')
        said = self.judge_plant('ORDER_NOT_AS_SIGNED')
        self.assertIn('and not by CN=somebody', said['first_findings'][0]['what'])
        self.plant = p = Plant(self.dir)
        p.order()
        p.accept(receipt=dict(devices=0), recorded=dict(time_ms=NOON_MS + 1))
        self.judge_plant('ORDER_NOT_AS_SIGNED')

    def test_an_order_that_answers_no_request(self):
        self.plant.order(nonce=bytes(16))
        self.judge_plant('ORDER_NONCE_UNKNOWN')

    def test_a_request_that_is_answered_twice(self):
        p = self.plant
        p.order()
        p.order('second', nonce=p.orders['order']['terms'].nonce)
        self.judge_plant('ORDER_NONCE_USED')

    def test_an_order_that_was_over_when_it_came(self):
        self.plant.order(not_after_time_ms=NOON_MS - HOUR_MS)
        self.judge_plant('ORDER_EXPIRED')

    def test_an_order_that_was_raised(self):
        for limits in (dict(quantity=1001), dict(per_batch_max=501),
                       dict(not_after_time_ms=NOON_MS + 99 * DAY_MS)):
            self.plant = Plant(self.dir)
            self.plant.order(per_batch_max=500)
            self.plant.change('LOWER', **limits)
            self.judge_plant('ORDER_RAISED')

    def test_orders_that_are_over_are_over(self):
        p = self.plant
        p.order()
        p.change('CLOSE')
        p.change('RESUME')
        self.judge_plant('ORDER_CLOSED', 'ORDER_NOT_SUSPENDED')

    def test_what_was_never_imported_or_opened(self):
        p = self.ordered()
        p.orders['ghost'] = p.orders['order']
        p.change('SUSPEND', 'ghost')
        self.judge_plant('ORDER_UNKNOWN')
        self.plant = Plant(self.dir)
        p = self.ordered()
        p.spend(batch_uid='0193537b-1f4c-7abc-8def-000000000001', exported=lambda d: d)
        said = self.judge(p.export())[1]
        self.assertEqual(said['first_findings'][0]['code'], 'BATCH_UNKNOWN')

    def test_a_spend_for_another_order_than_the_batch_draws_on(self):
        p = self.ordered()
        p.order('second')
        p.spend(order_id='second', draws_on='second')
        self.judge_plant('LEDGER_EDITED')

    def test_keys_that_were_deleted_too_soon_twice_or_of_too_many(self):
        p = self.ordered()
        p.delete_keys()
        self.judge_plant('LEDGER_EDITED')
        self.plant = Plant(self.dir)
        p = self.ordered()
        p.release()
        p.delete_keys()
        p.delete_keys()
        self.judge_plant('LEDGER_EDITED')
        self.plant = Plant(self.dir)
        p = self.ordered()
        p.release()
        p.delete_keys(devices=10 ** 6)
        self.judge_plant('SUM_WRONG')
        self.plant = Plant(self.dir)
        p = self.ordered()
        p.release()
        p.delete_keys(batch_uid='0193537b-1f4c-7abc-8def-000000000001')
        self.judge_plant('BATCH_UNKNOWN')

    def test_rows_that_leave_a_gap(self):
        p = self.ordered()
        p.spend()
        p.devices += 1
        p.spend(request='r2')
        self.judge_plant('ROW_GAP')

    def test_a_request_for_two_batches(self):
        p = self.ordered()
        p.spend()
        p.open('second')
        p.spend(batch='second')
        self.judge_plant('REQUEST_ID_REUSED')

    def test_devices_that_are_there_twice(self):
        first = None
        for field, code in (('uid', 'DUPLICATE_UID'), ('spki_sha256', 'DUPLICATE_KEY'),
                            ('serial', 'DUPLICATE_SERIAL'), ('hw_serial', 'DUPLICATE_HW_SERIAL')):
            self.plant = Plant(self.dir)
            p = self.ordered()
            first = p.spend()[4]
            p.spend(request='r2', changed={2: {field: getattr(first, field)}})
            said = self.judge_plant(code)
            self.assertIn('rows 5 and 13', said['first_findings'][0]['what'])

    def test_rows_that_no_database_has_hide_nothing(self):
        """An export that begins later may begin at any row."""
        p = self.ordered()
        for row in (2 ** 40, 2 ** 63 - 2, 2 ** 64 - 40):
            first = len(p.records) + 1
            p.devices = row
            key = p.spend(request=f'r{row}')[4].spki_sha256
            p.spend(request=f's{row}', changed={2: {'spki_sha256': key}})
            self.expect(p.export([i for i in p.items(first) if not i.HasField('checkpoint')]),
                        'DUPLICATE_KEY')

    def test_a_serial_number_of_a_ko_device_comes_again(self):
        p = self.ordered()
        first = p.spend(changed={0: {'state': 'ko'}})[0]
        p.spend(request='r2', changed={0: {'hw_serial': first.hw_serial}})
        self.judge_plant()

    def test_more_given_back_than_may_be(self):
        p = self.ordered(replacements_max=2)
        p.spend(10)
        p.report(ko=3)
        self.judge_plant()
        p.refund(1)
        self.judge_plant('REFUND_TOO_MANY')

    def test_more_given_back_than_is_ko(self):
        p = self.ordered(replacements_max=5)
        p.spend(10)
        p.report(ko=1)
        p.refund(1)
        self.judge_plant('REFUND_TOO_MANY')

    def test_given_back_by_another_sum(self):
        p = self.ordered(replacements_max=5)
        p.spend(10)
        p.report(ko=1, refund=False)
        p.refund(1, order_used_after=8)
        self.judge_plant('SUM_WRONG')

    def test_more_reported_than_made(self):
        p = self.ordered()
        p.spend(10)
        p.report(ok=11)
        self.judge_plant('SUM_WRONG')

    def test_a_release_that_does_not_add_up(self):
        for recorded in (dict(issued=9), dict(ok=5), dict(ko=1), dict(order_used=9),
                         dict(refunded=1)):
            self.plant = Plant(self.dir)
            p = self.ordered()
            p.spend(10)
            p.report()
            p.release(**recorded)
            self.judge_plant('SUM_WRONG')

    def test_after_the_release(self):
        for more in (lambda p: p.spend(request='r2'), lambda p: p.report(), lambda p: p.release()):
            self.plant = Plant(self.dir)
            p = self.ordered()
            p.spend(10)
            p.release()
            more(p)
            self.judge_plant('BATCH_RELEASED')

    def test_a_batch_that_is_opened_twice(self):
        p = self.ordered()
        p.open('batch', quantity=1000)
        self.judge_plant('BATCH_EXISTS')

    def test_reports_that_somebody_else_signed_or_that_are_signed_twice(self):
        p = self.ordered()
        p.spend(10)
        p.release()
        p.sign_report(signer=Signer(self.dir, 'stranger'))
        self.judge_plant('REPORT_NOT_SIGNED')
        self.plant = Plant(self.dir)
        p = self.ordered()
        p.release()
        p.sign_report(report_sha256=bytes(32))
        self.judge_plant('REPORT_NOT_SIGNED')
        self.plant = Plant(self.dir)
        p = self.ordered()
        p.release()
        p.sign_report()
        p.sign_report()
        self.judge_plant('LEDGER_EDITED')

    def test_a_clock_that_went_back(self):
        p = self.plant
        p.order()
        p.record(time_ms=NOON_MS - 1, request_made=ledger_pb2.RequestMade(nonce=b'n' * 16))
        self.judge_plant('TIME_WENT_BACK')

    def test_starts_that_are_not_new_or_too_many_unclean_ones(self):
        p = self.plant
        p.start(epoch=1)
        self.judge_plant('LEDGER_EDITED')
        self.plant = p = Plant(self.dir)
        for _ in range(3):
            p.start(unclean=True)
        self.judge_plant('TOO_MANY_UNCLEAN_STARTS')

    def test_a_lock_that_was_passed_over(self):
        p = self.plant
        p.order()
        p.lock()
        p.open()
        self.judge_plant('LEDGER_LOCKED')
        # A clock that was put right opens by itself, at a start.
        self.plant = p = Plant(self.dir)
        p.order()
        p.lock('CLOCK_WENT_BACK')
        p.start()
        p.open()
        self.judge_plant()
        # What a walk over the whole ledger found, no start looks for.
        self.plant = p = Plant(self.dir)
        p.order()
        p.lock('LEDGER_EDITED', by_walk=True)
        p.start()
        p.open()
        self.judge_plant('LEDGER_LOCKED')

    def test_unlocks_that_no_officer_gave(self):
        for values in (dict(signer=Signer(self.dir, 'stranger')), dict(database_sequence=1),
                       dict(database_head=bytes(32)), dict(ledger_id=bytes(16)),
                       dict(lock_reason='LEDGER_GAP')):
            self.plant = p = Plant(self.dir)
            p.lock()
            p.unlock(**values)
            self.judge_plant('UNLOCK_BAD')

    def test_events_and_fields_of_a_later_version(self):
        p = self.plant
        p.record()
        self.judge_plant('LEDGER_EDITED')
        self.plant = p = Plant(self.dir)
        p.start()
        p.records[-1] += b'\xfa\x07\x00'
        self.judge_plant('RECORD_UNKNOWN')

    def test_a_record_that_is_none(self):
        p = self.plant
        p.records[-1] = b'\xff'
        self.judge_plant('LEDGER_EDITED')

    def test_a_second_beginning(self):
        p = self.plant
        p.record(genesis=ledger_pb2.Genesis(ledger_id=p.id))
        self.judge_plant('LEDGER_EDITED')


if __name__ == '__main__':
    assert sha256(b'') and framed  # both are for others as well
    unittest.main()
