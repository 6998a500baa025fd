"""What is said in messages that WhatsApp's policy is about: W06, W09 and W17.

Owns the lists of words, in English, Portuguese and Spanish. A word is found where a letter comes
neither before nor after it. Imports `subject`, `templates`, `nodes`, `finding`, `problems`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from flowkit.fields import unparse
from flowkit.nodes.messages import SendMessage
from flowkit.problems import Problem, pointer
from flowkit.validate.finding import Finding
from flowkit.validate.subject import Subject
from flowkit.validate.templates import listed, sent

NO_STOP = Finding(
    "template.no_stop",
    "A marketing template has no button and no line by which the contact can stop them.",
    rules=("W06",),
)
PROMOTION = Finding(
    "template.promotion",
    "A template of category UTILITY promotes something, for which Meta makes it MARKETING.",
    rules=("W09",),
)
ONE_TIME_CODE = Finding(
    "template.one_time_code",
    "A one-time code is sent by a template that is not of category AUTHENTICATION.",
    rules=("W09",),
)
SENSITIVE = Finding(
    "message.sensitive",
    "A message asks for numbers of cards, accounts or identity papers.",
    rules=("W17",),
)


def _words(*words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)", re.IGNORECASE)


STOP = _words(
    "stop", "unsubscribe", "opt[ -]?out", "not interested", "no more",
    "parar", "pare", "sair", "descadastrar", "cancelar inscrição", "não tenho interesse",
    "baja", "darme de baja", "no me interesa", "dejar de recibir",
)  # fmt: skip
PROMOTING = _words(
    "discounts?", "sales?", "coupons?", "vouchers?", "promos?", "promotions?", "special offer",
    r"\d+ ?% off", "deals?", "free shipping",
    "descontos?", "cupom", "cupons", "promoção", "promoções", "ofertas?", "frete grátis",
    "descuentos?", "cupón", "cupones", "promoción", "promociones", "rebajas?", "envío gratis",
)  # fmt: skip
CODES = _words(
    "verification code", "one[ -]time (?:code|password)", "otp", "login code", "security code",
    "código de (?:verificação|segurança|acesso)", "código de (?:verificación|seguridad|acceso)",
)  # fmt: skip
ASKING = _words(
    "(?:credit|debit) card numbers?", "card numbers?", "cvv", "cvc", "bank account numbers?",
    "passport numbers?", "social security numbers?", "id card numbers?",
    "número d[oe] (?:seu )?cartão", "número da (?:sua )?conta", "número d[oe] (?:seu )?cpf",
    "número de (?:tu |su )?tarjeta", "número de (?:tu |su )?cuenta", "número de (?:tu |su )?dni",
)  # fmt: skip


def categories(subject: Subject) -> Iterator[Problem]:
    """Warn of templates that say what their category does not allow, or lack what it needs."""
    for index, made in sent(subject):
        template = listed(subject, made)
        if template is None:
            continue
        path, here = pointer("nodes", index, "config", "template"), f"At {subject.show(index)}"
        said = "\n".join([template.words, *made.parameters])
        if template.category == "MARKETING" and not STOP.search(template.words):
            yield NO_STOP.at(
                path,
                f"{here} the template {template.name!r} offers no way to stop: add a quick reply "
                "such as 'Stop promotions', or say how in its footer.",
            )
        found = PROMOTING.search(said)
        if template.category == "UTILITY" and found:
            yield PROMOTION.at(
                path,
                f"{here} the template {template.name!r} is UTILITY and says {found[0]!r}: Meta "
                "takes what promotes for MARKETING. Leave it out, or send a marketing template.",
            )
        found = CODES.search(said)
        if template.category != "AUTHENTICATION" and found:
            yield ONE_TIME_CODE.at(
                path,
                f"{here} the template {template.name!r} says {found[0]!r}: one-time codes go out "
                "by templates of category AUTHENTICATION only.",
            )


def questions(subject: Subject) -> Iterator[Problem]:
    """Warn of messages that ask for what must not be asked for."""
    for index, made in enumerate(subject.made):
        if not isinstance(made, SendMessage):
            continue
        template = listed(subject, made)
        said = [*_texts(unparse(made)), template.words if template is not None else ""]
        found = ASKING.search("\n".join(said))
        if found:
            yield SENSITIVE.at(
                pointer("nodes", index),
                f"{subject.show(index)} says {found[0]!r}: WhatsApp forbids asking for the full "
                "numbers of cards, accounts and identity papers. Ask for it elsewhere.",
            )


def _texts(value: object) -> Iterator[str]:
    """Yield the texts of a config, which nests no deeper than its declaration."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
