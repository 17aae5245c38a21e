# SPDX-License-Identifier: Apache-2.0
"""A strict reader of Prometheus' text format 0.0.4, with the rules that `promtool check metrics` has
beyond the syntax. Shares nothing with what writes it."""
import re
import time
import urllib.error
import urllib.request

NAME = r'[a-zA-Z_:][a-zA-Z0-9_:]*'
SAMPLE = re.compile(rf'({NAME})(?:\{{(.*)\}})? (\d+(?:\.\d+)?)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,(?=.)|$)')
ESCAPE = {'\\\\': '\\', '\\"': '"', '\\n': '\n'}


class Malformed(AssertionError):
    pass


class Page:
    """types: family -> type; samples: (name, frozenset of labels) -> value."""

    def __init__(self, text):
        self.types, self.samples, self.helps = {}, {}, {}
        self.order = []
        if text and not text.endswith('\n'):
            raise Malformed('no end of line at the end')
        family = None
        for line in text.splitlines():
            try:
                family = self._line(line, family)
            except Malformed as wrong:
                raise Malformed(f'{wrong}: {line!r}') from None
        for name, kind in self.types.items():
            self._check_family(name, kind)

    def _need(self, true, what):
        if not true:
            raise Malformed(what)

    def _line(self, line, family):
        if line.startswith('# HELP '):
            name, _, text = line[7:].partition(' ')
            self._need(re.fullmatch(NAME, name) and text, 'HELP')
            self._need(name not in self.helps, 'HELP for a second time')
            self.helps[name] = text
            return name
        if line.startswith('# TYPE '):
            name, _, kind = line[7:].partition(' ')
            self._need(name == family and name not in self.types, 'TYPE out of order')
            self._need(kind in ('counter', 'gauge', 'histogram'), 'unknown type')
            self.types[name] = kind
            return name
        found = SAMPLE.fullmatch(line)
        self._need(found, 'neither comment nor sample')
        self._sample(family, *found.groups())
        return family

    def _sample(self, family, name, labels, value):
        self._need(family in self.types, 'sample without TYPE')
        suffixes = ('_bucket', '_sum', '_count') if self.types[family] == 'histogram' else ('',)
        self._need(name in [family + s for s in suffixes], f'sample in the family {family}')
        pairs, at = {}, 0
        while labels and at < len(labels):
            found = LABEL.match(labels, at)
            self._need(found and found[1] not in pairs, 'labels')
            pairs[found[1]] = re.sub(r'\\.', lambda m: ESCAPE[m[0]], found[2])
            at = found.end()
        key = (name, frozenset(pairs.items()))
        self._need(key not in self.samples, 'sample for a second time')
        self.samples[key] = float(value)
        self.order.append(key)

    def _check_family(self, name, kind):
        self._need((kind == 'counter') == name.endswith('_total'), f'{name} is a {kind}')
        self._need(not re.search(r'_(ms|us|milliseconds|kilobytes)\b', name), f'{name}: base units')
        if kind != 'histogram':
            return
        for labels in {labels for n, labels in self.samples if n == name + '_count'}:
            buckets = [v for n, l, v in ((n, l, self.samples[n, l]) for n, l in self.order)
                       if n == name + '_bucket' and {p for p in l if p[0] != 'le'} == set(labels)]
            self._need(buckets == sorted(buckets), f'{name}: buckets that fall')
            self._need(self.samples[name + '_bucket', labels | {('le', '+Inf')}] ==
                       self.samples[name + '_count', labels] == buckets[-1], f'{name}: +Inf')

    def __call__(self, name, **labels):
        """The value of one sample."""
        return self.samples[name, frozenset(labels.items())]

    def sum(self, name, **labels):
        """Of all samples of that name that have these labels."""
        return sum(v for (n, l), v in self.samples.items() if n == name and set(labels.items()) <= l)


def read_page(port, seconds=30):
    """What the service shows on that port; it has a limit of pages a second, which is waited for."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f'http://127.0.0.1:{port}/metrics', timeout=seconds) as answer:
                return Page(answer.read().decode())
        except urllib.error.HTTPError as error:
            if error.code != 429 or time.monotonic() > end:
                raise
            time.sleep(0.15)
