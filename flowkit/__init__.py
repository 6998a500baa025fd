"""flowkit: define WhatsApp marketing flows in Python, check them, run them, read their history."""

from flowkit.client import Client as Client
from flowkit.errors import Conflict as Conflict
from flowkit.errors import FlowkitError as FlowkitError
from flowkit.errors import Invalid as Invalid
from flowkit.errors import NodeFailed as NodeFailed
from flowkit.errors import NotFound as NotFound
from flowkit.errors import ServiceError as ServiceError
from flowkit.expression import contact as contact
from flowkit.expression import results as results
from flowkit.expression import trigger as trigger
from flowkit.expression import var as var
from flowkit.expression import variables as variables
from flowkit.fields import field as field
from flowkit.flow import Edge as Edge
from flowkit.flow import Flow as Flow
from flowkit.flow import Node as Node
from flowkit.nodetype import Context as Context
from flowkit.nodetype import Effect as Effect
from flowkit.nodetype import Handle as Handle
from flowkit.nodetype import Next as Next
from flowkit.nodetype import NodeType as NodeType
from flowkit.nodetype import Wait as Wait
from flowkit.nodetype import node_types as node_types
from flowkit.problems import Problem as Problem
from flowkit.retry import RetryPolicy as RetryPolicy
from flowkit.validate import validate as validate
