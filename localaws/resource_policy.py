"""Whether a resource's policy lets an AWS service act on it."""

from __future__ import annotations

from typing import Any


def admits(policy: Any, service: str, action: str, resource: str, source: str) -> bool:
    """Whether `policy` allows `service` the action on behalf of `source`.

    Args:
        policy: the resource's policy, as text or parsed; None for none.
        service: ``events.amazonaws.com``, say.
        action: in IAM's words.
        resource: the ARN of what the policy belongs to.
        source: the ARN of what the service acts for: a rule, a method.
    """
    from ministack.core.iam_evaluator import EvalContext, evaluate_resource_policy

    region, account = source.split(":")[3:5]
    caller = EvalContext(
        principal_arn="*",
        principal_type="Service",
        principal_account="",
        action=action,
        resource_arn=resource,
        region=region,
        secure_transport=True,  # a service asks in TLS, whatever came to this process over HTTP
        service_context={"aws:sourcearn": source, "aws:sourceaccount": account},
    )
    found = evaluate_resource_policy(policy or {}, caller, service=service)
    return bool(found.decision == "Allow")
