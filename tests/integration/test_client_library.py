#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""libmintmark as others use it: what it exports, its header in C and C++, its pkg-config file, and a
program linked with the shared and with the static library."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('MINTMARK_BUILD', ROOT / 'build'))
HEADER = ROOT / 'client/mintmark.h'
PROGRAM = r'''
#include <mintmark.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    struct mintmark_options options;
    struct mintmark *client = NULL;
    struct mintmark_error error;
    int r;

    memset(&options, 0, sizeof(options));
    options.target = "localhost:1";
    options.ca_file = options.certificate_file = options.key_file = "/nowhere";
    r = mintmark_new(&options, &client, &error);
    printf("%d %s\n", r, error.reason);
    mintmark_free(client);
    return 0;
}
'''


def run(*command, **how):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True, **how)
    if done.returncode:
        raise AssertionError(f'{command}: {done.stdout}')
    return done.stdout


class Library(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='mintmark-library.'))
        self.addCleanup(shutil.rmtree, self.dir)
        # As installed: the header alone in a folder.
        (self.dir / 'include').mkdir()
        shutil.copy(HEADER, self.dir / 'include')

    def test_exports_are_what_the_header_declares(self):
        out = run('nm', '-D', '--defined-only', BUILD / 'client/libmintmark.so')
        exported = {line.split()[-1] for line in out.splitlines()}
        text = re.sub(r'/\*.*?\*/', '', HEADER.read_text(), flags=re.S)
        declared = set(re.findall(r'^\w[\w ]*?\**(mintmark_\w+)\(', text, re.M))
        self.assertEqual(exported, declared)
        self.assertGreater(len(declared), 10)

    def compile_header(self, compiler, suffix, *standards):
        if not shutil.which(compiler):
            self.skipTest(f'{compiler} is missing')
        source = self.dir / f'header{suffix}'
        source.write_text('#include <mintmark.h>\n#include <mintmark.h>\n' + PROGRAM)
        for standard in standards:
            run(compiler, f'-std={standard}', '-pedantic', '-Wall', '-Wextra', '-Werror',
                '-fsyntax-only', '-I', self.dir / 'include', source)

    def test_header_in_c(self):
        self.compile_header('cc', '.c', 'c99', 'c17')

    def test_header_in_cpp(self):
        self.compile_header('c++', '.cpp', 'c++11', 'c++20')

    @unittest.skipIf(os.environ.get('MINTMARK_SANITIZED'), 'the library is built with a sanitizer')
    def test_programs_with_both_libraries(self):
        (self.dir / 'p.c').write_text(PROGRAM)
        flags = ['-I', self.dir / 'include', self.dir / 'p.c', '-o', self.dir / 'p']
        run('cc', *flags, f'-L{BUILD / "client"}', '-lmintmark')
        environment = dict(os.environ, LD_LIBRARY_PATH=str(BUILD / 'client'))
        self.assertEqual(run(self.dir / 'p', env=environment), '-3 BAD_FILE\n')
        needed = run('pkg-config', '--print-requires-private', BUILD / 'meson-private/mintmark.pc')
        libraries = run('pkg-config', '--libs', *needed.split()).split()
        run('cc', *flags, BUILD / 'client/libmintmark.a', *libraries)
        self.assertEqual(run(self.dir / 'p'), '-3 BAD_FILE\n')


if __name__ == '__main__':
    unittest.main()
