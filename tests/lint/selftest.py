#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each check finds what it is for, and finds nothing in a tree where nothing is wrong.

usage: selftest.py CC...
"""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
HEAD = '/* SPDX-License-Identifier: Apache-2.0 */\n'
FAULTS = ''.join(f'| {function} | {fault} | devices | devices | devices |\n' for function in
                 ('C_Initialize', 'C_Finalize', 'C_Login') for fault in ('CKR_GENERAL_ERROR', 'hangs'))
GOOD = {
    'daemon/base/good.h': HEAD + '#pragma once\n\nint good(void);\n',
    'daemon/base/good.c': HEAD + '#include "daemon/base/good.h"\n\n'
                                 '/* model: GO */\nint good(void)\n{\n    return 1; /* strcpy( */\n}\n',
    'daemon/front/main.c': HEAD + '#include "daemon/base/good.h"\n\n#include <uv.h>\n',
    'proto/mintmark/v1/a.proto': '// SPDX-License-Identifier: Apache-2.0\n// An A.\nmessage A {\n'
                                 '  repeated x.Y b = 1;  // its b\n}\n',
    'docs/integration.md': '| NOT_FOUND | UNKNOWN_BATCH | none |\n',
    'docs/verify.md': '',
    'docs/operations.md': '',
    'docs/model.md': '## Steps and code\n\n| `GO` | goes | `daemon/base/good.c` `good` |\n',
    'tests/model/a.pml': 'printf("GO: %d\\n", r)\nprintf("kill\\n")\n',
    'docs/architecture.md': 'see [that](operations.md)\n',
    'docs/man/mintmark.conf.5': '.It Cm client_ca\n',
    'docs/threat-model.md': '| steal `request_id` or `client_ca` | refused (`good_is_one`, `test_a`) |\n',
    'docs/grpc.md': '| To be good | `daemon/base/good.c` | a `good_is_one` |\n',
    'tests/unit/test_a.c': HEAD + 'START_TEST(good_is_one)\n',
    'daemon/store/a.c': HEAD + 'const char *reason = "UNKNOWN_BATCH";\n',
    'pkcs11/good.c': HEAD + 'int login(void)\n{\n    return MM_CK(t, C_Login(t->session));\n}\n',
    'tests/integration/test_token_fault_matrix.py':
        '# SPDX-License-Identifier: Apache-2.0\n'
        "RETURNS = {'0x5': 'CKR_GENERAL_ERROR'}\nSTATES = {'hang': 'hangs'}\n",
    'docs/token-faults.md': FAULTS,
    '.clang-format': 'BasedOnStyle: LLVM\nIndentWidth: 4\nBreakBeforeBraces: Linux\n'
                     'AllowShortFunctionsOnASingleLine: None\n',
}
LONG = 'int f(int a)\n{\n' + '    a++;\n' * 60 + '    return a;\n}\n'
DEEP = 'int f(int a)\n{\n' + '    if (a)\n        a++;\n' * 15 + '    return a;\n}\n'

# check, file, what is put there, what the check must say
CASES = [
    ('layers', 'daemon/front/a.c', HEAD + '#include "pkcs11/token.h"\n', '"pkcs11/token.h"'),
    ('layers', 'daemon/front/a.c', HEAD + '#include <sqlite3.h>\n', '<sqlite3.h>'),
    ('layers', 'daemon/base/a.c', HEAD + '#include "daemon/conf/conf.h"\n', 'conf.h'),
    ('layers', 'client/a.c', HEAD + '# include "daemon/ipc/channel.h"\n', 'channel.h'),
    ('layers', 'pkcs11/a.c', HEAD + '#include "mintmark/v1/types.pb-c.h"\n', 'messages'),
    ('layers', 'tools/verify/a.c', HEAD + '#include "daemon/base/good.h"\n', 'good.h'),
    ('layers', 'tools/verify/a.c', HEAD + '#include "internal/store.pb-c.h"\n', 'messages'),
    ('layers', 'daemon/base/a.c', HEAD + '#include "good.h"\n', '"good.h"'),
    ('layers', 'elsewhere/a.c', HEAD, 'no rule'),
    ('style', 'daemon/base/a.c', HEAD + 'void f(char *a)\n{\n    strcpy(a, "b");\n}\n', 'strcpy'),
    ('style', 'daemon/base/a.c', 'int a;\n', 'SPDX'),
    ('style', 'tools/run', '#!/bin/sh\ntrue\n', 'SPDX'),
    ('style', 'daemon/base/a.c', HEAD + '/* TO' 'DO: later */\n', 'open an issue'),
    ('style', 'daemon/base/a.c', HEAD + '\n' * 600, '601 lines'),
    ('functions', 'daemon/base/a.c', HEAD + LONG, '64 lines'),
    ('functions', 'daemon/base/a.c', HEAD + DEEP, 'complexity 16'),
    ('format', 'daemon/base/a.c', HEAD + 'int   a;\n', 'clang-format -i'),
    ('headers', 'daemon/base/a.h', HEAD + 'size_t f(void);\n', 'does not compile'),
    ('headers', 'daemon/base/a.h', HEAD + 'struct a {\n    int b;\n};\n', 'does not compile'),
    ('messages', 'proto/mintmark/v1/b.proto', 'message B {\n  string c = 1;  // of B\n}\n', 'B has'),
    ('messages', 'proto/mintmark/v1/b.proto', '// A B.\nmessage B {\n  string c = 1;\n}\n', 'c has'),
    ('documents', 'daemon/base/a.c', HEAD + '/* see docs/adr/0099-none.md */\n', '0099-none'),
    ('documents', 'docs/architecture.md', 'see [this](missing.md)\n', 'missing.md'),
    ('evidence', 'docs/grpc.md', '| A | `daemon/base/b.c` | a `good_is_one` |\n', 'b.c is not there'),
    ('evidence', 'docs/grpc.md', '| A | nghttp2 | a `good_is_two` |\n', 'good_is_two is not in a'),
    ('evidence', 'docs/grpc.md', '| A | nghttp2 | everybody |\n', 'no test'),
    ('evidence', 'docs/threat-model.md', '| steal | refused (`good_is_two`) |\n', 'no test good_is_two'),
    ('reasons', 'docs/operations.md', '`UNKNOWN_BOTCH` is\n', 'UNKNOWN_BOTCH'),
    ('faults', 'pkcs11/a.c', HEAD + 'int a = MM_CK(t, C_Logout(1));\n', 'no row for "hangs"'),
    ('faults', 'pkcs11/a.c', HEAD + 'int a = MM_CK(\n    t, C_Logout(1));\n', 'C_Logout is called'),
    ('faults', 'docs/token-faults.md', FAULTS + '| C_Sign | hangs | x | y | z |\n', 'C_Sign is called no more'),
    ('faults', 'docs/token-faults.md', FAULTS.replace('devices |\n', 'not tried |\n', 1), 'not tried'),
    ('steps', 'tests/model/b.pml', 'printf("STOP\\n")\n', 'no function says that it takes the step STOP'),
    ('steps', 'daemon/base/a.c', HEAD + '/* model: HALT */\nint f(void)\n{\n}\n', 'no step HALT'),
    ('steps', 'daemon/base/a.c', HEAD + '/* An f. model: GO */\nint f(void)\n{\n}\n', "'f'"),
    ('steps', 'daemon/base/a.c', HEAD + '/* model: GO */\nint a;\n', 'before no function'),
    ('steps', 'docs/model.md', '', 'GO is in []'),
    ('paths', 'docs/a.md', 'see /home/' 'me/notes\n', '/home/'),
    ('paths', 'tools/a.sh', 'pip install -i https://regist' 'ry.example.com/simple\n', 'registry'),
]


def run(check, root, compiler):
    extra = {'headers': [root] + compiler}
    done = subprocess.run([sys.executable, os.path.join(HERE, check + '.py'), root] +
                          extra.get(check, []), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode()


def plant(root, tree):
    for name, text in tree.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)


def one(check, tree, compiler, expect):
    """Is the outcome as expected? expect None: all well."""
    with tempfile.TemporaryDirectory(prefix='mintmark-lint-') as root:
        plant(root, tree)
        code, out = run(check, root, compiler)
    if code == 77:
        print(f'{check}: {out.strip()}')
        return True
    if (expect is None and code == 0) or (expect is not None and code == 1 and expect in out):
        return True
    print(f'{check}: expected {expect or "nothing wrong"}, got {code}:\n{out}')
    return False


def links(compiler):
    """A program that links what its duty does not need, or lacks what it must."""
    with tempfile.TemporaryDirectory(prefix='mintmark-lint-') as root:
        plant(root, {'a.c': 'int main(void) { return 0; }\n'})
        program = os.path.join(root, 'a')
        subprocess.run(compiler + [os.path.join(root, 'a.c'), '-o', program, '-Wl,--no-as-needed',
                                   '-lz'], check=True)
        wrong = True
        for name, expect in (('mintmark-verify', 1), ('mintmark', 0), ('mintmark+libz', 0),
                             ('mintmark+libssl', 1)):
            done = subprocess.run([sys.executable, os.path.join(HERE, 'links.py'),
                                   f'{name}={program}'], stdout=subprocess.PIPE)
            if done.returncode not in (expect, 77):
                print(f'links: {name}: expected {expect}:\n{done.stdout.decode()}')
                wrong = False
    return wrong


def commands():
    """A page that lacks a command, an option, or has one that the program does not."""
    page = '.It Ic make\n.It Fl -out Ar file\n.It Fl -help\n'
    cases = [(page, None), (page.replace('make', 'take'), 'command make is missing'),
             (page.replace('-out', '-in'), '--out is missing'), (page + '.Fl -json\n', '--json is')]
    right = True
    for text, expect in cases:
        with tempfile.TemporaryDirectory(prefix='mintmark-lint-') as root:
            plant(root, {'a.1': text, 'a': '#!/bin/sh\n'
                         'echo "  make   make it"\necho "  --out FILE   where to"\n'})
            os.chmod(os.path.join(root, 'a'), 0o755)
            done = subprocess.run([sys.executable, os.path.join(HERE, 'commands.py'),
                                   os.path.join(root, 'a.1'), os.path.join(root, 'a')],
                                  stdout=subprocess.PIPE)
        out = done.stdout.decode()
        if done.returncode != (1 if expect else 0) or (expect and expect not in out):
            print(f'commands: expected {expect or "nothing wrong"}:\n{out}')
            right = False
    return right


def main(compiler):
    good = {c: one(c, GOOD, compiler, None)
            for c in ('documents', 'evidence', 'faults', 'layers', 'style', 'functions', 'format', 'headers', 'messages',
                      'paths', 'reasons', 'steps')}
    bad = [one(check, dict(GOOD, **{name: text}), compiler, expect)
           for check, name, text, expect in CASES]
    results = list(good.values()) + bad + [links(compiler), commands()]
    print(f'selftest: {len(results)} run, {results.count(False)} wrong')
    sys.exit(0 if all(results) else 1)


main(sys.argv[1:])
