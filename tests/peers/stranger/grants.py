"""Grants: what the platform, or a holder below it, allows whoever has a key. And the platform's list of revoked keys."""

import hashlib

from . import cbor, cose
from .cbor import Refused

UNLOCK, LOCK, STATUS, LOG, PINS = (1 << bit for bit in range(5))
SINGLE_USE, WINDOW = 1, 2
DELEGATE, ABOVE = -65539, -65539
LONGEST, CHAIN = 200, 3
QUARTER_S, WEEK = 900, 7 * 96
PAGE_KEYS, PAGES, LONGEST_PAGE = 24, 64, 866


def verified(sign1, longest, signer, *aad):
    """The payload, if `signer` signed it as a message of this label for this audience."""
    if len(sign1) > longest:
        raise Refused("too long")
    parts = cbor.decode(sign1)
    if not isinstance(parts, list) or len(parts) != 4 or parts[0] != cbor.encode({1: -7}):
        raise Refused("COSE_Sign1")
    protected, unprotected, body, signature = parts
    if not isinstance(unprotected, dict) or set(unprotected) - {4}:
        raise Refused("header")
    if not isinstance(body, bytes) or not isinstance(signature, bytes):
        raise Refused("COSE_Sign1")
    cose.verify(signer, cose.to_be_signed(protected, body, cbor.encode(list(aad))), signature)
    return body


def number(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 32


class Grant:
    """One whose signatures were verified, all the way up to the platform's."""

    def __init__(self, body, signer, lock, parent):
        claims = cbor.decode(body)
        if not isinstance(claims, dict) or not {3, 4, 5, 7, 8, 9} <= set(claims) <= {3, 4, 5, 7, 8, 9, DELEGATE}:
            raise Refused("claims")
        audience, self.end, self.begin, self.cti, cnf, scope = (claims[key] for key in (3, 4, 5, 7, 8, 9))
        self.delegate = claims.get(DELEGATE)
        if audience != lock[:8] or not number(self.end) or not number(self.begin) or self.begin >= self.end:
            raise Refused("lock, or time")
        if not isinstance(self.cti, bytes) or len(self.cti) != 8 or not isinstance(cnf, dict) or set(cnf) != {1}:
            raise Refused("claims")
        self.holder = cose.from_cose_key(cnf[1])
        if self.delegate is not None:
            if not isinstance(self.delegate, bytes) or self.delegate == self.holder:
                raise Refused("delegate key")
            cose.point(self.delegate)
        self._scope(scope)
        own = [cose.thumbprint(key) for key in (self.holder, self.delegate) if key is not None]
        self.keys = own + (parent.keys if parent else [])
        self.links, self.origin = (parent.links + 1, parent.origin) if parent else (1, self.cti)
        self.digest = hashlib.sha256(body).digest()
        self.use = hashlib.sha256(cose.thumbprint(signer) + self.cti).digest()[:8]

    def _scope(self, scope):
        if not isinstance(scope, bytes) or len(scope) not in (3, 6) or scope[2] & ~(SINGLE_USE | WINDOW):
            raise Refused("scope")
        if bool(scope[2] & WINDOW) != (len(scope) == 6):
            raise Refused("window")
        self.rights, self.single_use = int.from_bytes(scope[:2], "big"), bool(scope[2] & SINGLE_USE)
        self.week = None if len(scope) == 3 else quarters(*scope[3:])
        if not self.rights or self.single_use and self.delegate is not None:
            raise Refused("scope")

    def within(self, parent):
        """What narrowing is."""
        return (self.rights & ~parent.rights == 0 and self.begin >= parent.begin and self.end <= parent.end
                and (parent.week is None or self.week is not None and self.week <= parent.week))

    def holds(self, known):
        """Whether all of the interval in which the true time lies is inside."""
        if known is None or known[0] < self.begin or known[1] >= self.end:
            return False
        if self.week is None:
            return True
        first, last = (second // QUARTER_S + 3 * 96 for second in known)  # 1 January 1970 was a Thursday
        return all(quarter % WEEK in self.week for quarter in range(first, min(last, first + WEEK) + 1))


def quarters(days, first, count):
    """The quarters of an hour of the week."""
    if not 0 < days < 0x80 or first > 95 or not 1 <= count <= 96:
        raise Refused("window")
    begins = (day * 96 + first for day in range(7) if days >> day & 1)
    return {(begin + quarter) % WEEK for begin in begins for quarter in range(count)}


def chain(cwt, above, lock, platform, admit):
    """The grant below those `above`, from the platform down; stops at the first that is not genuine or that widens."""
    links, at = [], 0
    while at < len(above):
        _, end = cbor.item(above, at, depth=6)
        links.append(above[at:end])
        at = end
    if len(links) >= CHAIN or len(above) > (CHAIN - 1) * LONGEST:
        raise Refused("chain too long")
    grant = None
    for link in [*links, cwt]:
        if link is not cwt:
            admit()
        if grant is None:
            body = verified(link, LONGEST, platform, "cardea/grant", lock)
            grant = Grant(body, platform, lock, None)
            continue
        if grant.delegate is None:
            raise Refused("not to be passed on")
        body = verified(link, LONGEST, grant.delegate, "cardea/delegated-grant", lock, grant.digest)
        child = Grant(body, grant.delegate, lock, grant)
        if not child.within(grant):
            raise Refused("wider")
        grant = child
    return grant


class Revocations:
    """The platform's list. `store` holds the one in force; one that comes is in memory until its last page."""

    def __init__(self, store, save, random):
        self.store, self.save, self.random = store, save, random
        self.coming, self.nonce, self.asked_at, self.spent = None, None, None, []

    @property
    def epoch(self):
        return self.store["epoch"]

    def names(self, keys):
        held = self.store["revoked"]
        return any(key == held[at:at + 32] for key in keys for at in range(0, len(held), 32))

    def take(self, nonce, sign1, owner, now):
        """A page. The number of a page to be asked for, or None."""
        body = cbor.decode(sign1)[2] if len(sign1) <= LONGEST_PAGE else None
        page = cbor.decode(body) if isinstance(body, bytes) else None
        if not isinstance(page, dict) or set(page) != {1, 2, 3, 4, 5}:
            raise Refused("page")
        epoch, at, index, count, keys = (page[key] for key in (1, 2, 3, 4, 5))
        self._check(epoch, at, index, count, keys)
        ours = self.nonce is not None and nonce == self.nonce and now < self.asked_at + 600_000
        continued = self.coming is not None and self.coming[:4] == (epoch, at, count, index)
        if not continued and not (index == 0 and (epoch == self.epoch + 1 or ours and epoch > self.epoch)):
            if epoch > self.epoch + 1 and index == 0 and (self.asked_at is None or now >= self.asked_at + 900_000):
                return 0
            raise Refused("not the next page")
        self.spent = [one for one in self.spent if now < one + 60_000]
        if len(self.spent) >= (4 if ours else 3):
            raise Busy("verifications")
        self.spent.append(now)
        verified(sign1, LONGEST_PAGE, owner.signing, "cardea/revocations", cose.thumbprint(owner.root))
        if ours:
            self.nonce = None
        held = (self.coming[4] if continued else b"") + keys
        if continued and keys[:32] <= self.coming[4][-32:]:
            raise Refused("order")
        self.coming = (epoch, at, count, index + 1, held)
        if index + 1 == count:
            self.coming, self.store["epoch"], self.store["revoked"] = None, epoch, held
            self.save()
        return None

    @staticmethod
    def _check(epoch, at, index, count, keys):
        if not all(map(number, (epoch, at, index, count))) or not 1 <= count <= PAGES or index >= count:
            raise Refused("page")
        if not isinstance(keys, bytes) or len(keys) % 32:
            raise Refused("thumbprints")
        each = [keys[place:place + 32] for place in range(0, len(keys), 32)]
        if each != sorted(set(each)) or len(each) > PAGE_KEYS:
            raise Refused("thumbprints")
        if index + 1 < count and len(each) < PAGE_KEYS or not each and count > 1:
            raise Refused("page not full")

    def question(self, page, now):
        """The body of a question to the site."""
        self.nonce, self.asked_at = self.random(8), now
        return cbor.sequence(2, self.nonce, page)


class Busy(Refused):
    """Could not be looked at now: no receipt, and the gateway says it again."""
