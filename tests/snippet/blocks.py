"""Statements of several lines that random programs are made of: see `templates`."""

from __future__ import annotations

from typing import Final

BLOCKS: Final = """\
z = {int(<whole>)}
log.append(z.pop())

l = sorted(<ints>)
l.sort(reverse=(not <truth>))

m = l.copy()
m.append(<whole>)

try:
    raise ValueError(<word>, <small>)
except (KeyError, ValueError) as e0:
    log.append([str(e0), repr(e0), f'{e0}'])

try:
    raise KeyError(<plain>)
except LookupError as e0:
    log.append(str(e0))

try:
    i = {}[<word>]
except KeyError as e0:
    s = str(e0)

try:
    try:
        i = <whole> // <tiny>
    finally:
        log.append('finally')
except ArithmeticError:
    raise ValueError(<text>) from None

try:
    i = <whole>
except Exception as e0:
    raise e0
else:
    j = <whole>
finally:
    i = 1

for w in <tuple>:
    try:
        if w == <whole>:
            continue
        log.append(show(w))
    finally:
        if <truth>:
            break
else:
    log.append('else')

def fn0():
    for w in <several>:
        try:
            return w
        finally:
            if <truth>:
                continue
    return 'end'
log.append(show(fn0()))

while True:
    i += 1
    if i > 3 or i % 3 == 0:
        break

while (w := len(l)) > 2:
    l.pop()
log.append(w)

def fn0(n: int, *, k: str = 'a') -> int:
    return k if n < 1 else fn0(n - 1, k=k + 'b')
log.append(fn0(<tiny>, k=<text>))

def fn0(x):
    def inner(y):
        nonlocal x
        x += y
        return lambda: x * 2
    return inner
fn1 = fn0(<whole>)
log.append([fn1(<whole>)(), fn1(1)()])

def fn0(a, b=[], /, *c, d, e=<whole>, **g):
    b.append(a)
    return [a, b, c, d, e, g]
log.append(show(fn0(<whole>, d=<text>)))
log.append(show(fn0(*<several>, **{'d': 1, 'z': 2})))

def fn0(*a, **k):
    return (a, k)
log.append(show(fn0(*<several>, *<tuple>, **<mapping>, named=<whole>)))

def fn0():
    global i, n9
    i = n9 = <whole>
    def inner():
        return n9 + i
    return inner()
log.append(fn0())

def fn0():
    try:
        return i0
    except NameError:
        return 'none'
    i0 = 1
log.append(fn0())

fs = [lambda: x + i for x in <ints>]
log.append([q() for q in fs])

fs = []
for w in <ints>:
    fs.append(lambda: w)
log.append([q() for q in fs])

for w, (k, *v) in [(1, 'ab'), (2, <several>)]:
    log.append(show([w, k, v]))

for i in range(<small>):
    if i == <tiny>:
        break
else:
    log.append('whole')

for k, v in {**d}.items():
    log.append(show([k, v]))

if (w := <whole>) > 1:
    log.append(w)
elif <truth>:
    pass
else:
    log.append(show(w))

x = y = z0 = []
x.append(<whole>)
log.append([y, z0 == x])

x = [1, 2, 3, 4]
for w in x:
    x.remove(w)
log.append(x)

x = [1]
for w in x:
    if len(x) < 5:
        x.append(w + 1)
log.append(x)

def fn0():
    if <truth>:
        return
    log.append('on')
log.append(fn0())

for d[<word>], l[0] in zip(<ints>, <text>):
    pass

for (i, j), *m in [<several>, [t, <whole>]]:
    log.append(show(m))

try:
    raise NotImplementedError(<text>)
except NotImplementedError as e0:
    log.append([repr(e0), isinstance(e0, RuntimeError)])

try:
    <anything>.append(<whole>)
except AttributeError:
    log.append('none')

try:
    assert <truth>, <word>
except AssertionError as e0:
    log.append([str(e0), repr(e0)])

for w in range(<tiny>, <small>):
    def fn0(x=w):
        return x + w
    log.append(fn0())

def fn0(n):
    return n if n < 2 else fn0(n - 1) + fn0(n - 2)
log.append(fn0(<tiny>) + fn0(6))

def fn0(*, k, **o):
    return [k, o]
log.append(show(fn0(**{'k': <anything>, **<mapping>})))

while True:
    try:
        break
    finally:
        log.append(<whole>)
""".strip().split("\n\n")
