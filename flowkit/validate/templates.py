"""Templates that a flow sends, held against those that the account has (W08).

Owns the comparison; without a snapshot of the account only the values that are written out are
looked at. Imports `subject`, `snapshot`, `nodes`, `whatsapp`, `finding`, `problems`.
"""

from __future__ import annotations

from collections.abc import Iterator

from flowkit import whatsapp
from flowkit.nodes.messages import SendMessage
from flowkit.problems import Problem, pointer
from flowkit.validate.finding import Finding
from flowkit.validate.snapshot import MEDIA, Template
from flowkit.validate.subject import Subject

_RULES = ("W08",)
UNKNOWN = Finding("template.unknown", "The account has no template of that name.", "error", _RULES)
LANGUAGE = Finding(
    "template.language", "The account does not have the template in that language.", "error", _RULES
)
STATUS = Finding(
    "template.status", "The template is not approved, so it cannot be sent.", "error", _RULES
)
PARAMETERS = Finding(
    "template.parameters", "The values are not as many as the template's variables, or the "
    "variables have names.", "error", _RULES,
)  # fmt: skip
HEADER = Finding(
    "template.header", "The header is not the one that the template needs.", "error", _RULES
)
BUTTON = Finding(
    "template.button", "A button of the template lacks its value, or a value its button.",
    "error", _RULES,
)  # fmt: skip
VALUE = Finding(
    "template.value", "A value of a template has a line break, a tab or more than 4 spaces in a "
    "row, which WhatsApp refuses.", "error", _RULES,
)  # fmt: skip


def sent(subject: Subject) -> Iterator[tuple[int, SendMessage]]:
    """Yield the nodes that send templates."""
    for index, made in enumerate(subject.made):
        if isinstance(made, SendMessage) and made.kind == "template":
            yield index, made


def listed(subject: Subject, made: SendMessage) -> Template | None:
    """Return the account's template that a node sends; None where it is not known."""
    if subject.templates is None:
        return None
    return subject.templates.find(made.template or "", made.language or "")


def values(subject: Subject) -> Iterator[Problem]:
    """Refuse values of which it is certain that WhatsApp refuses them."""
    for index, made in sent(subject):
        texts = [(pointer("parameters", n), text) for n, text in enumerate(made.parameters)]
        texts += [
            (pointer("buttonParameters", n, "value"), button.value)
            for n, button in enumerate(made.button_parameters)
        ]
        for place, text in texts:
            if not whatsapp.is_liquid(text) and whatsapp.is_forbidden(text):
                yield VALUE.at(
                    pointer("nodes", index, "config") + place,
                    f"At {subject.show(index)} a value has a line break, a tab or more than 4 "
                    "spaces in a row, which WhatsApp refuses in templates; write it in one line.",
                )


def account(subject: Subject) -> Iterator[Problem]:
    """Refuse templates that the account cannot send as the flow does."""
    if subject.templates is None:
        return
    for index, made in sent(subject):
        path, name = pointer("nodes", index, "config"), made.template or ""
        here = f"At {subject.show(index)}"
        languages = subject.templates.languages(name)
        template = listed(subject, made)
        if not languages:
            yield UNKNOWN.at(
                path + "/template",
                f"{here}: the account has no template {name!r}; correct the name, or create it.",
            )
        elif template is None:
            yield LANGUAGE.at(
                path + "/language",
                f"{here}: the template {name!r} is not there in {made.language!r}; it is in "
                f"{', '.join(languages)}.",
            )
        else:
            if template.status != "APPROVED":
                yield STATUS.at(
                    path + "/template",
                    f"{here}: the template {name!r} ({template.language}) is {template.status}; "
                    "only APPROVED ones can be sent.",
                )
            yield from _parts(made, template, path, here)


def _parts(made: SendMessage, template: Template, path: str, here: str) -> Iterator[Problem]:
    wanted, given = template.variables, len(made.parameters)
    if template.named:
        yield PARAMETERS.at(
            path + "/parameters",
            f"{here}: the variables of {template.name!r} have names ({', '.join(wanted)}), and "
            "values are sent by number; create it with {{1}}, {{2}}.",
        )
    elif len(wanted) != given:
        yield PARAMETERS.at(
            path + "/parameters",
            f"{here}: the body of {template.name!r} takes {len(wanted)} values; {given} are given.",
        )
    yield from _header(made, template, path, here)
    have = {button.index: button.kind for button in made.button_parameters}
    for number, button in enumerate(template.buttons):
        if button.kind is not None and number not in have:
            yield BUTTON.at(
                path + "/buttonParameters",
                f"{here}: button {number} of {template.name!r} needs a value of kind "
                f"{button.kind}.",
            )
    for place, parameter in enumerate(made.button_parameters):
        number = parameter.index
        known = template.buttons[number] if number < len(template.buttons) else None
        takes = "quick_reply" if known and known.type == "QUICK_REPLY" else known and known.kind
        if takes != parameter.kind:
            what = f"takes {takes}" if takes else "takes no value" if known else "is not there"
            yield BUTTON.at(
                path + pointer("buttonParameters", place),
                f"{here}: a value of kind {parameter.kind} is given for button {number} of "
                f"{template.name!r}, which {what}.",
            )


def _header(made: SendMessage, template: Template, path: str, here: str) -> Iterator[Problem]:
    given = made.header.kind if made.header else None
    wanted: str | None = None
    if template.header is not None and template.header != "TEXT":
        wanted = MEDIA.get(template.header, template.header.lower())
    elif "{{" in template.header_text:
        wanted = "text"
    if given != wanted:
        needs = f"needs a header of kind {wanted}" if wanted else "takes no header"
        yield HEADER.at(
            path + "/header",
            f"{here}: the template {template.name!r} {needs}; "
            f"{f'{given} is' if given else 'none is'} given.",
        )
