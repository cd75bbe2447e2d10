"""Prints the template that CloudFormation makes of ../template.yaml, as JSON. Needs aws-sam-translator, which sam has."""

import json
import os
import pathlib

# The translator asks for a Region, whatever it is.
os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse


class NoManagedPolicies:
    """The template names none."""

    def load(self):
        return {}


template = yaml_parse((pathlib.Path(__file__).parent.parent / "template.yaml").read_text())
for resource in template["Resources"].values():
    for code in ("CodeUri", "ContentUri"):
        if code in resource.get("Properties", {}):
            # What `sam build` and `sam deploy` put there.
            resource["Properties"][code] = "s3://bucket/key"
print(json.dumps(transform(template, {}, NoManagedPolicies()), indent=2))
