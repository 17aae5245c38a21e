#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""key backup and restore: CA keys go from one SoftHSM token to another under a key in shares, and
certificates that the restored key signs chain to the old root."""
import json
import re
import shutil
import subprocess
import unittest

from officer_site import BUILD, CONF, OFFICER, SO_PIN, Base, Terminal, openssl, token_kind

FAULT_MODULE = BUILD / 'tests/faults/p11fault.so'


@unittest.skipIf(token_kind.KIND == 'softokn', 'NSS has no security officer, without whom there are no backups')
class Backup(Base):
    def setUp(self):
        super().setUp()
        self.init()
        self.elsewhere = self.dir / 'elsewhere'
        self.elsewhere.mkdir()
        self.other = self.elsewhere / 'mintmark.conf'
        self.other.write_text(CONF.format(token=token_kind.prepare(self.elsewhere, 'test')))
        shutil.copy(self.dir / 'user.pin', self.elsewhere)
        self.there('token', 'init', '--label', 'test', '--so-pin-file', self.dir / 'so.pin',
                   '--pin-file', self.dir / 'user.pin')

    def there(self, *args, status=0, json_answer=False):
        """A ceremony on the second token."""
        options = ['--operator', 'Carol', '--yes', '--transcript', self.dir / 'there.txt'] \
            if args[:2] not in (('key', 'list'), ('token', 'audit')) else []
        return self.run_officer(*args, '--config', self.other, *options,
                                *(['--json'] if json_answer else []), status=status, config=False)

    def backup(self, *args, labels='paa', status=0, threshold=2, shares=3, folder=None):
        folder = folder or self.dir / 'shares'
        folder.mkdir(exist_ok=True)
        self.file = self.dir / f'{folder.name}.json'
        return self.ceremony('key', 'backup', '--label', labels, '--out', self.file, '--shares',
                             shares, '--threshold', threshold, '--shares-dir', folder,
                             '--so-pin-file', self.dir / 'so.pin', *args, status=status)

    def share(self, *numbers, folder='shares'):
        return ','.join(str(self.dir / folder / f'share-{n}.txt') for n in numbers)

    def restore(self, shares, status=0):
        return self.there('key', 'restore', '--in', self.file, '--share-files', shares, status=status)

    def labels_there(self):
        return sorted(k['label'] for k in json.loads(
            self.there('key', 'list', json_answer=True)[0])['keys'])

    def refused(self, shares, reason):
        _, error = self.restore(shares, status=65)
        self.assertIn(reason, error)
        self.assertEqual(self.labels_there(), [])

    def test_restored_keys_sign_what_the_old_root_vouches_for(self):
        self.make_root('--backup')
        self.make_sub('--backup')
        self.backup(labels='paa,pai')
        for share in (1, 2, 3):
            self.assertEqual((self.dir / 'shares' / f'share-{share}.txt').stat().st_mode & 0o777, 0o600)
        text = self.file.read_text()
        self.assertEqual({k['label'] for k in json.loads(text)['keys']}, {'paa', 'pai'})
        self.restore(self.share(3, 1))
        keys = {k['label']: k for k in json.loads(self.there('key', 'list', json_answer=True)[0])['keys']}
        self.assertEqual(sorted(keys), ['paa', 'pai'])
        for key in keys.values():
            self.assertEqual(key['policy'], 'good')
            self.assertTrue(key['sensitive'])
            self.assertFalse(key['extractable'] or key['local'])
        # The restored root signs a new CA, which openssl accepts below the old root's certificate.
        self.there('ca', 'create-sub', '--label', 'pai2', '--create-key', '--preset', 'matter-pai',
                   '--vid', 'FFF1', '--subject', 'CN=Second PAI,VID=${vid}', '--parent-label', 'paa',
                   '--parent-certificate', self.dir / 'paa.pem', '--out', self.dir / 'pai2.pem')
        first = self.dir / 'first.pem'
        first.write_text((self.dir / 'pai2.pem').read_text().split('-----END')[0] +
                         '-----END CERTIFICATE-----\n')
        self.assertIn(b'OK', openssl('verify', '-x509_strict', '-CAfile', self.dir / 'paa.pem', first))
        # Neither shares nor PINs are in the record or on the screen.
        for n in (1, 2, 3):
            digits = (self.dir / 'shares' / f'share-{n}.txt').read_text().strip()
            self.assertNotIn(digits, self.said + self.transcript() +
                             (self.dir / 'there.txt').read_text())
        self.assertRegex(self.transcript(), r'share: 3 of 3 given')
        _, error = self.restore(self.share(1, 2), status=1)  # a second time
        self.assertIn("'paa' already", error)

    def rules(self, text):
        (self.elsewhere / 'rules.new').write_text(text)
        (self.elsewhere / 'rules.new').rename(self.elsewhere / 'rules')

    def there_fails_at_will(self):
        """The second token is behind a module that fails by rules."""
        rules = self.elsewhere / 'rules'
        self.other.write_text(token_kind.behind(self.other.read_text(), FAULT_MODULE, MM_FAULT_RULES=rules))
        self.rules('')

    def everything_there(self):
        """The objects of the second token, as SoftHSM's own files have them."""
        return [f.name for f in self.elsewhere.glob('tokens/*/*.object') if f.name != 'token.object']

    def test_a_restore_that_fails_midway_leaves_nothing(self):
        self.make_root('--backup')
        self.make_sub('--backup')
        self.backup(labels='paa,pai')
        self.there_fails_at_will()
        self.assertEqual(self.everything_there(), [])
        failed = 0
        for function, calls in (('C_UnwrapKey', 4), ('C_CreateObject', 6), ('C_SignInit', 4), ('C_Sign', 4)):
            for call in range(1, calls + 1):
                for fault in ('0x30', 'sessions'):
                    self.rules(f'{function}:{call}={fault}')
                    done = subprocess.run(
                        list(map(str, [OFFICER, 'key', 'restore', '--config', self.other, '--in', self.file,
                                       '--share-files', self.share(1, 2), '--operator', 'Carol', '--yes'])),
                        capture_output=True, text=True, cwd=self.dir)
                    self.rules('')
                    self.assertNotEqual(done.returncode, 0, (function, call, fault))
                    failed += 1
                    self.assertEqual(self.everything_there(), [], (function, call, fault, done.stderr))
        self.assertGreater(failed, 20)
        self.restore(self.share(1, 2))
        self.assertEqual(self.labels_there(), ['paa', 'pai'])

    def test_a_restore_whose_token_goes_says_what_may_be_left(self):
        self.make_root('--backup')
        self.backup()
        self.there_fails_at_will()
        self.rules('C_UnwrapKey=0x30;C_OpenSession:2=0x30')
        said, _ = self.restore(self.share(1, 2), status=69)
        self.assertIn("LEFT BEHIND", said + (self.dir / 'there.txt').read_text())

    def test_any_threshold_of_the_shares_will_do(self):
        self.make_root('--backup', '--curve', 'p256')
        self.backup(threshold=3, shares=5)
        self.refused(self.share(1, 4), '2 shares were given, and it takes 3')
        self.restore(self.share(5, 2, 4))
        self.assertEqual(self.labels_there(), ['paa'])

    def test_shares_that_do_not_fit_are_refused_one_by_one(self):
        self.make_root('--backup')
        self.backup(folder=self.dir / 'older')
        self.backup()
        self.refused(self.share(1, 1), 'share 1 has been given already')
        self.refused(self.share(1) + ',' + self.share(2, folder='older'), 'of another backup')
        path = self.dir / 'shares' / 'share-2.txt'
        good = path.read_text()
        path.write_text(('f' if good[30] != 'f' else 'e').join((good[:30], good[31:])))
        self.refused(self.share(1, 2), 'a digit is wrong')
        path.write_text(good[:-6] + '\n')
        self.refused(self.share(1, 2), '94 hexadecimal digits')
        path.write_text(good)
        path.chmod(0o644)
        _, error = self.restore(self.share(1, 2), status=77)
        self.assertIn('others may read it', error)
        path.chmod(0o600)
        self.restore(self.share(1, 2))

    def test_a_forged_share_with_a_good_checksum_is_not_taken(self):
        import hashlib
        self.make_root('--backup')
        self.backup()
        path = self.dir / 'shares' / 'share-2.txt'
        share = bytearray.fromhex(path.read_text().strip().replace('-', ''))
        share[20] ^= 1
        share[-4:] = hashlib.sha256(share[:-4]).digest()[:4]
        path.write_text(share.hex() + '\n')
        self.refused(self.share(1, 2), 'not the one that this backup was made with')
        # The file changed to fit: then the shares give another key than the file is under.
        data = json.loads(self.file.read_text())
        data['shares'][1] = hashlib.sha256(share).hexdigest()
        self.file.write_text(json.dumps(data))
        self.refused(self.share(1, 2), 'another key than the file was written under')

    def test_a_tampered_file_is_refused(self):
        self.make_root('--backup')
        self.backup()
        good = self.file.read_text()
        data = json.loads(good)

        def with_key(**changes):
            changed = json.loads(good)
            changed['keys'][0].update(changes)
            return json.dumps(changed)

        wrapped = bytearray.fromhex(data['keys'][0]['wrapped'])
        wrapped[-1] ^= 1
        for text in (with_key(label='other'), with_key(wrapped=wrapped.hex()),
                     with_key(id='00' * 16), json.dumps({**data, 'site': 'elsewhere'}),
                     json.dumps({**data, 'threshold': 3, 'x': 1})):
            self.file.write_text(text)
            shares = self.share(1, 2, 3) if '"threshold": 3' in text else self.share(1, 2)
            self.refused(shares, 'is not as it was written')
        for text in ('', '{}', good.replace('backup v1', 'backup v2'), good[:-20],
                     json.dumps({**data, 'keys': []}), with_key(curve='p521'), with_key(point='04'),
                     json.dumps({**data, 'threshold': 1}), json.dumps({**data, 'threshold': 4})):
            self.file.write_text(text)
            self.refused(self.share(1, 2), 'is no key backup')
        self.file.write_text(good)
        self.restore(self.share(1, 2))

    def test_only_keys_made_for_it_are_backed_up(self):
        self.make_root()
        _, error = self.backup(status=1)
        self.assertIn('was not made with --backup', error)
        self.assertFalse(self.file.exists())
        self.assertEqual(list((self.dir / 'shares').iterdir()), [])
        self.run_officer('key', 'create', '--use', 'signing', '--label', 'x', '--backup', '--operator',
                         'A', '--yes', status=64)
        _, error = self.backup(labels='nothing', status=1)
        self.assertIn('no private key matches', error)
        self.backup('--so-pin-fd', '0', status=1)

    def test_wrong_numbers_and_files_in_the_way_change_nothing(self):
        self.make_root('--backup')
        for threshold, shares in ((1, 3), (4, 3), (2, 17), (2, 1)):
            self.backup(threshold=threshold, shares=shares, status=64)
        (self.dir / 'shares' / 'share-2.txt').write_text('in the way')
        _, error = self.backup(status=1)
        self.assertIn('not overwritten', error)
        self.assertEqual(len(list((self.dir / 'shares').iterdir())), 1)
        self.assertFalse(self.file.exists())

    def test_the_security_officers_pin_is_needed_and_tried_once(self):
        self.make_root('--backup')
        self.secret('so.pin', 'not-the-so-pin')
        _, error = self.backup(status=77)
        self.assertIn('security officer', error)
        self.assertEqual(list((self.dir / 'shares').iterdir()), [])
        self.secret('so.pin', SO_PIN)
        self.backup()
        # The user's PIN alone does not get the key out: a wrapping key of the user's is not trusted.
        answer = self.data('token', 'audit', status=1)
        self.assertEqual([k['name'] for k in answer['keys'] if k['verdict'] == 'MISSING'],
                         ['pai', 'line'])

    def test_audit_knows_keys_for_backup_where_the_site_wants_them(self):
        self.make_root()
        self.make_sub('--backup')
        self.ceremony('key', 'create', '--use', 'transport', '--label', 'transport')
        answer = self.data('token', 'audit', status=1)  # backup = never
        self.assertEqual([k['name'] for k in answer['keys'] if k['verdict'] != 'good'], ['pai'])
        self.conf.write_text(self.conf.read_text().replace("certificate = 'pai.pem'",
                                                           "certificate = 'pai.pem' backup = 'allowed'"))
        answer = self.data('token', 'audit')
        self.assertEqual(answer['keys'][0]['use'], 'ca, for backup')
        self.backup(labels='pai')
        self.assertEqual([u['label'] for u in self.data('token', 'audit')['unknown']], ['paa'])

    def test_shares_are_shown_once_typed_back_and_typed_in(self):
        self.make_root('--backup')
        out = self.dir / 'paper.json'
        terminal = Terminal('key', 'backup', '--config', self.conf, '--label', 'paa', '--out', out,
                            '--shares', 2, '--threshold', 2, '--so-pin-file', self.dir / 'so.pin',
                            '--operator', 'Alice', '--yes', '--transcript', self.dir / 'paper.txt')
        shares = []
        for i in (1, 2):
            terminal.expect(f'Share {i} of 2.*press Enter: ')
            terminal.type('')
            terminal.expect(r'Write it down.*: ')
            shares.append(re.findall(r'(?:[0-9a-f]{4}-){23}[0-9a-f]{2}', terminal.text)[-1])
            terminal.type('')
            terminal.expect(r'from your paper \(not shown\): ')
            self.assertFalse(terminal.echoes())
            terminal.type(shares[-1].upper().replace('-', ' '))
        self.assertEqual(terminal.end(), 0, terminal.text)
        self.assertEqual(len(set(shares)), 2)
        self.assertNotIn(shares[0], (self.dir / 'paper.txt').read_text())

        terminal = Terminal('key', 'restore', '--config', self.other, '--in', out, '--operator', 'Carol',
                            '--yes', '--transcript', self.dir / 'there.txt')
        terminal.expect(r'1 of the 2 needed')
        terminal.type('00' + shares[0][2:])
        terminal.expect(r'(?s)refused: that is no share.*1 of the 2 needed')
        terminal.type(shares[1])
        terminal.expect(r'2 of the 2 needed')
        terminal.type(shares[1])
        terminal.expect(r'(?s)given already.*2 of the 2 needed')
        terminal.type(shares[0])
        self.assertEqual(terminal.end(), 0, terminal.text)
        self.assertEqual(self.labels_there(), ['paa'])


@unittest.skipUnless(token_kind.KIND == 'softokn', 'for tokens without a security officer')
class NoOfficer(Base):
    def test_keys_for_backup_are_refused(self):
        self.init()
        _, error = self.make_root('--backup', status=1)
        self.assertIn('the token has no security officer', error)
        self.assertEqual(self.key_labels(), [])
        self.assertFalse((self.dir / 'paa.pem').exists())


if __name__ == '__main__':
    unittest.main()
