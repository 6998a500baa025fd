"""The codes of what validation passes on: mistakes that the reading of documents, configs and
settings finds, and those of the graph, each with what it means.

They are written where they are found, in modules that may not know this package; a test holds
this table to them. Imports `finding`.
"""

from __future__ import annotations

from flowkit.validate.finding import Finding

_MEANINGS = {
    "document.type": "A part of the document has another type than a flow has there.",
    "document.missing": "A key is missing that every flow, node or edge has.",
    "document.depth": "The document nests too deeply.",
    "document.number": "A number is too large to be kept, or is none.",
    "document.text": "A text has half of a surrogate pair.",
    "flow.name": "The name is empty or too long.",
    "flow.trigger_type": "The trigger type is empty, too long or has other characters.",
    "settings.quiet_hours": "Quiet hours that never end would hold every message for ever.",
    "settings.exit": "A rule for leaving names neither an event nor a condition.",
    "node.id": "The id of a node is not of the form that ids have.",
    "node.duplicate_id": "Two nodes have the same id.",
    "node.position": "A position on the canvas has no number.",
    "node.unknown_type": "There is no such node type.",
    "config.missing": "A field that the config needs is missing.",
    "config.unknown_field": "The config has a field that the node type does not know.",
    "config.type": "A field of a config has a value of another type.",
    "config.choice": "A field of a config has a value that is none of those to choose from.",
    "config.out_of_range": "A value is too small, too large, too short or too long.",
    "config.expression": "A condition is no JSONLogic.",
    "config.jmespath": "A path into the payload is no JMESPath.",
    "config.template": "A text is no Liquid.",
    "config.name": "A name has characters that names do not have.",
    "config.time": "A time of day cannot be read.",
    "config.time_zone": "There is no such time zone.",
    "config.duplicate": "Two ways out of a node have the same name.",
    "config.delay": "A delay waits for nothing.",
    "config.past": "A date that does not come again is to be waited for again.",
    "config.wait": "A wait has neither a time-out nor says that it never ends, or both.",
    "config.repeat": "A loop has two conditions.",
    "config.split": "No arm of a split has a weight.",
    "config.stop": "Flows to stop are neither named nor all of them, or both.",
    "contact.identity": "What says who a contact is would be changed.",
    "contact.conflict": "An attribute is changed twice by one node.",
    "contact.nothing": "A node that changes contacts changes nothing.",
    "request.url": "The address of a request is none.",
    "request.body": "A request has a body that can have none.",
    "request.header": "A request has a header that cannot be sent.",
    "request.template": "A text in the body of a request is no Liquid.",
    "edge.duplicate": "Two edges join the same nodes by the same handle.",
    "edge.duplicate_id": "Two edges have the same id.",
    "edge.into_note": "An edge leads into a note.",
    "edge.into_trigger": "An edge leads into the TRIGGER.",
    "edge.out_of_end": "An edge leads out of an END.",
    "edge.unknown_handle": "An edge leaves by a handle that the node does not have.",
    "edge.unknown_source": "An edge comes from a node that is not there.",
    "edge.unknown_target": "An edge leads to a node that is not there.",
    "handle.unconnected": "A way out leads nowhere.",
    "graph.no_trigger": "There is no TRIGGER.",
    "graph.many_triggers": "There is more than one TRIGGER.",
    "graph.no_end": "There is no END.",
    "graph.unreachable": "No way leads to a node from the TRIGGER.",
    "graph.dead_end": "No way leads from a node to an END.",
    "graph.cycle": "Nodes lead in a circle that no REPEAT bounds.",
    "join.shared_fork": "Branches of one fork come together at two JOINs.",
    "repeat.open_fork": "Branches would come back to a REPEAT one by one.",
    "repeat.tangled": "Two loops overlap.",
    "subflow.recursion": "A SUBFLOW runs the flow that it is in.",
    "subflow.unknown_version": "A SUBFLOW names a version that is not published here.",
    "repeat.entered": "A loop is entered elsewhere than at its REPEAT.",
}
_ADVICE = {
    "settings.unknown": "There is no such setting, so it has no effect.",
    "node.category": "A category is given that is not the type's; it is replaced.",
    "python.unknown_function": "The function is not registered here, as it must be where it runs.",
    "graph.convergence": "Parallel branches meet, and only the first to arrive goes on.",
    "join.no_fork": "No parallel branches come together at a JOIN.",
    "repeat.no_return": "Nothing leads back to a REPEAT.",
}
_MESSAGES = {
    "message.empty": "A text of a message is empty.",
    "message.too_long": "A text of a message is longer than WhatsApp takes.",
    "message.too_many": "A message has more choices than WhatsApp takes.",
    "message.duplicate": "Two choices of a message have the same id or title.",
    "message.header": "The header is of a kind that the message cannot have.",
    "message.media": "A file is named by no address and no id.",
    "message.url": "The link of a button is no address.",
}

for _code, _meaning in _MEANINGS.items():
    Finding(_code, _meaning, "error")
for _code, _meaning in _ADVICE.items():
    Finding(_code, _meaning)
for _code, _meaning in _MESSAGES.items():
    # A flow tells by its id which button was tapped.
    Finding(_code, _meaning, "error", ("W10", "W19") if _code == "message.duplicate" else ("W10",))
Finding("message.long", "A list's text is longer than older documents of WhatsApp allow.",
        rules=("W10",))  # fmt: skip
