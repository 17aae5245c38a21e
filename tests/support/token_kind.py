# SPDX-License-Identifier: Apache-2.0
"""Which real token a test works with: MINTMARK_TEST_TOKEN is softhsm (default), softokn (NSS) or proxy
(SoftHSM behind p11-kit-proxy). Whatever is not there is skipped, and said."""
import glob
import os
import pathlib
import re
import sys

KIND = os.environ.get('MINTMARK_TEST_TOKEN') or 'softhsm'
SOFTHSM = ['/usr/lib/softhsm/libsofthsm2.so', '/usr/lib/*/softhsm/libsofthsm2.so',
           '/usr/lib64/softhsm/libsofthsm2.so', '/usr/lib64/pkcs11/libsofthsm2.so']
# Of each kind: the module that is configured, and what is behind it if that is another.
PATTERNS = {'softhsm': [SOFTHSM],
            'softokn': [['/usr/lib/*/libsoftokn3.so', '/usr/lib64/libsoftokn3.so']],
            'proxy': [['/usr/lib/*/p11-kit-proxy.so', '/usr/lib64/p11-kit-proxy.so'], SOFTHSM]}
NOBODY = 65534


def skip(why):
    print(f'skipped: {why}')
    sys.exit(77)


def _installed():
    if KIND not in PATTERNS:
        sys.exit(f'error: MINTMARK_TEST_TOKEN is {KIND}, none of {", ".join(PATTERNS)}')
    found = [[f for one in patterns for f in sorted(glob.glob(one))] for patterns in PATTERNS[KIND]]
    for patterns, files in zip(PATTERNS[KIND], found):
        if not files:
            skip(f'no {patterns[0]}')
    return [files[0] for files in found]


FILES = _installed()
MODULE, LIBRARY = FILES[0], FILES[-1]  # what is configured, and what is behind it


def _become_nobody():
    """p11-kit reads a user's configuration for no root."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.environ['HOME'] = '/nonexistent'


if KIND == 'proxy':
    _become_nobody()


def through_proxy():
    """The proxy's path, for a test whose programs have no parameters to give to the module; root becomes
    nobody."""
    proxies = sorted(glob.glob(PATTERNS['proxy'][0][0]))
    if not proxies:
        skip(f'no {PATTERNS["proxy"][0]}')
    _become_nobody()
    return proxies[0]


def only_softhsm(why):
    """For a module of tests that are about SoftHSM itself."""
    if KIND != 'softhsm':
        skip(f'{KIND}: {why}')


def _register(folder, name, text):
    """p11-kit's configuration with one module in it; the variable that leads there."""
    modules = folder / 'config/pkcs11/modules'
    modules.mkdir(parents=True)
    (folder / 'config/pkcs11/pkcs11.conf').write_text('user-config: only\n')
    (modules / f'{name}.module').write_text(f'module: {LIBRARY}\ncritical: yes\n{text}')
    return {'XDG_CONFIG_HOME': f'{folder}/config'}


def environment(folder, label):
    """What the token needs in this folder, and the variables that lead a program to it that has no
    configuration of ours: with NSS softokn by through_proxy."""
    if KIND == 'softokn':
        (folder / 'nss').mkdir()
        return _register(folder, 'nss', f"x-init-reserved: configdir='sql:{folder}/nss' "
                                        f"dbTokenDescription='{label}'\n")
    (folder / 'tokens').mkdir()
    (folder / 'softhsm2.conf').write_text(
        f'directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n')
    variables = {'SOFTHSM2_CONF': f'{folder}/softhsm2.conf'}
    return {**variables, **_register(folder, 'softhsm', '')} if KIND == 'proxy' else variables


def prepare(folder, label):
    """What the module needs in this folder, for one token of that label; the settings of a token
    section that lead to it."""
    settings = f"module = '{MODULE}' uri = 'pkcs11:token={label}'"
    if KIND == 'softokn':
        (folder / 'nss').mkdir()
        return f"{settings} parameters = \"configdir='sql:{folder}/nss' dbTokenDescription='{label}'\""
    variables = ', '.join(f"'{name}={value}'" for name, value in environment(folder, label).items())
    return f'{settings} environment = {{{variables}}}'


def behind(text, module, **variables):
    """The configuration with its token behind a module of tests, which finds the token's own library in
    $MM_FAULT_MODULE, and these variables. With the proxy it is between the two, where the module that
    fails is: p11-kit loads itself into no other module."""
    variables = {'MM_FAULT_MODULE': LIBRARY, **variables}
    more = ', '.join(f"'{name}={value}'" for name, value in variables.items())
    if KIND == 'proxy':
        folder = pathlib.Path(re.search("XDG_CONFIG_HOME=([^']+)'", text)[1])
        (folder / 'pkcs11/modules/softhsm.module').write_text(f'module: {module}\ncritical: yes\n')
    else:
        text = text.replace(f"module = '{MODULE}'", f"module = '{module}'")
    if KIND == 'softokn':
        return text.replace('parameters = ', f'environment = {{{more}}} parameters = ')
    return text.replace('environment = {', f'environment = {{{more}, ')
