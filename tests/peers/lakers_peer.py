"""One end of EDHOC by lakers: cipher suite 2, method 3, credentials as CCS.

One JSON object a line on standard input, one answer a line on standard output, all bytes in hexadecimal. What lakers
refuses is answered {"error": its words}; the session is then over.

{"do": "initiator", "c": C_I, "ead": [[label, critical, value]]}                          -> {"message": message_1}
{"do": "message_2", "message", "secret", "own", "other", "by_value", "ead"}               -> {"message": message_3, ...}
{"do": "message_4", "message"}                                                            -> {"ead"}
{"do": "responder", "secret", "own", "message": message_1, "c": C_R, "by_value", "ead"}   -> {"message": message_2, ...}
{"do": "message_3", "message", "other", "ead"}                                            -> {"message": message_4, ...}
{"do": "export", "label", "length"} and {"do": "key_update", "context"}

own and other are CCS; secret is the private key of own. Answers also hold the other side's identifier (c) and EAD.
"""

import json
import sys

import lakers


def eads(asked):
    return [lakers.EADItem(label, critical, bytes.fromhex(value)) for label, critical, value in asked["ead"]]


def told(items):
    return [[item.label(), item.is_critical(), (item.value() or b"").hex()] for item in items]


def transfer(asked):
    return lakers.CredentialTransfer.ByValue if asked["by_value"] else lakers.CredentialTransfer.ByReference


def blob(asked, name):
    return bytes.fromhex(asked[name])


class Peer:
    def initiator(self, asked):
        self.end = lakers.EdhocInitiator()
        return {"message": self.end.prepare_message_1(blob(asked, "c"), eads(asked)).hex()}

    def message_2(self, asked):
        c_r, id_cred_r, ead_2 = self.end.parse_message_2(blob(asked, "message"))
        known = lakers.credential_check_or_fetch(id_cred_r, lakers.Credential(blob(asked, "other")))
        self.end.verify_message_2(blob(asked, "secret"), lakers.Credential(blob(asked, "own")), known)
        message_3, _ = self.end.prepare_message_3(transfer(asked), eads(asked))
        return {"message": message_3.hex(), "c": c_r.hex(), "ead": told(ead_2)}

    def message_4(self, asked):
        return {"ead": told(self.end.process_message_4(blob(asked, "message")))}

    def responder(self, asked):
        self.end = lakers.EdhocResponder(blob(asked, "secret"), lakers.Credential(blob(asked, "own")))
        c_i, ead_1 = self.end.process_message_1(blob(asked, "message"))
        message_2 = self.end.prepare_message_2(transfer(asked), blob(asked, "c"), eads(asked))
        return {"message": message_2.hex(), "c": c_i.hex(), "ead": told(ead_1)}

    def message_3(self, asked):
        id_cred_i, ead_3 = self.end.parse_message_3(blob(asked, "message"))
        known = lakers.credential_check_or_fetch(id_cred_i, lakers.Credential(blob(asked, "other")))
        self.end.verify_message_3(known)
        return {"message": self.end.prepare_message_4(eads(asked)).hex(), "ead": told(ead_3)}

    def export(self, asked):
        return {"key": self.end.edhoc_exporter(asked["label"], b"", asked["length"]).hex()}

    def key_update(self, asked):
        self.end.edhoc_key_update(blob(asked, "context"))
        return {}


peer = Peer()
for line in sys.stdin:
    asked = json.loads(line)
    try:
        answer = getattr(peer, asked["do"])(asked)
    except BaseException as refused:  # a panic of the library is none of Python's exceptions, and an answer as well
        if isinstance(refused, KeyboardInterrupt):
            raise
        answer = {"error": f"{type(refused).__name__}: {refused}"}
    print(json.dumps(answer), flush=True)
