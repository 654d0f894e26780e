#!/bin/sh
# What the product is made of, looked through: `make audit` (docs/dependencies.md).
#
# An environment with the product and all of its extras, another one with the tools that look at it, both in build/audit
# and used again. Exit code: 0 nothing found; 1 a package or licence is not on the page, or a weakness is known; 3 the
# packages or the database of advisories could not be had.
set -eu
cd "$(dirname "$0")/.."
say() { printf '%s\n' "audit: $*" >&2; }
fail() { say "$*"; exit 3; }

product=build/audit/product
tools=build/audit/tools
for environment in $product $tools; do
    [ -x $environment/bin/pip ] || .venv/bin/python -m venv --clear $environment || fail "could not make $environment"
done
say "installing the product with all of its extras into $product"
$product/bin/pip install --disable-pip-version-check -q --upgrade --upgrade-strategy eager \
    '.[direct,postgres,srtp,station,stir,web]' || fail "pip could not install it: its words are above"
say "installing pip-audit and cyclonedx-bom into $tools"
$tools/bin/pip install --disable-pip-version-check -q --upgrade pip-audit cyclonedx-bom ||
    fail "pip could not install them: its words are above"

packages=$($product/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
found=0
say "comparing with docs/dependencies.md"
.venv/bin/python -m tools.dependencies --check "$packages" || found=1
$tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o build/audit/sbom.json \
    $product/bin/python || fail "the bill of materials could not be written"
say "build/audit/sbom.json is written"

say "asking for known weaknesses"
rm -f build/audit/weaknesses.json  # of the last time
$tools/bin/pip-audit --path "$packages" --skip-editable --progress-spinner off --format json -o build/audit/weaknesses.json ||
    [ -s build/audit/weaknesses.json ] || fail "no database of advisories answered: run it where PyPI can be reached"
.venv/bin/python - <<'PYTHON' || found=$(( found ? found : $? ))
import json, sys

told = json.load(open("build/audit/weaknesses.json"))["dependencies"]
passed = [one["name"] for one in told if "skip_reason" in one and one["name"] != "holdfast"]
weak = [f"{one['name']} {one['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'no version'}"
        for one in told for fault in one.get("vulns", [])]
print(*weak, sep="\n", end="\n" if weak else "")
print(f"{len(told) - len(passed)} packages looked up, {len(weak)} known weaknesses.")
if passed:
    print(f"Not in the database that answered: {', '.join(passed)}.", file=sys.stderr)
sys.exit(1 if weak else 3 if passed else 0)
PYTHON
exit $found
