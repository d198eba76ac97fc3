"""The frame of the HTML pages, and the front page. Self-contained: no script, nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from html import escape

_STYLE = """\
:root {
  color-scheme: light dark;
  --text: light-dark(#1c2430, #e3e8ef); --soft: light-dark(#5a6675, #9aa7b8); --ground: light-dark(#fff, #12161c);
  --panel: light-dark(#f4f6f9, #1b212a); --line: light-dark(#dde3ea, #2d3641); --link: light-dark(#0b5cad, #7cb7ff);
  --get: light-dark(#0f6b3c, #6fd39b); --post: light-dark(#8a4b00, #f0b45f); --put: light-dark(#5b3cc4, #b7a4ff);
  --delete: light-dark(#b3261e, #ff9c94);
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; color: var(--text); background: var(--ground); font: 16px/1.55 system-ui, sans-serif; }
a { color: var(--link); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
.page { max-width: 84rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
.page > main { min-width: 0; max-width: 60rem; }
h1 { font-size: 1.8rem; margin: 0 0 .5rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 .25rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0 0 .35rem; display: flex; flex-wrap: wrap; gap: .6rem; align-items: baseline; }
h4 { font-size: .8rem; margin: 1rem 0 .3rem; color: var(--soft); font-weight: 600; }
p { margin: .4rem 0; }
code, pre { font: .85rem/1.5 ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; }
code { background: var(--panel); border-radius: .25rem; padding: .1rem .3rem; overflow-wrap: anywhere; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: .4rem; padding: .7rem .8rem; margin: 0;
  overflow-x: auto; }
h3 code, pre code { background: none; padding: 0; }
h3 code { font-size: .95rem; }
nav { font-size: .9rem; }
nav ul { list-style: none; margin: 0; padding: 0; }
nav li ul { display: none; }
nav > ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; padding: .6rem 0; }
.operation { border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; margin: 1rem 0; }
.method { font: 700 .8rem/1 ui-monospace, monospace; }
.get { color: var(--get); } .post { color: var(--post); } .put { color: var(--put); } .delete { color: var(--delete); }
.soft { color: var(--soft); font-size: .9rem; }
.examples { display: grid; gap: 0 1rem; grid-template-columns: minmax(0, 1fr); }
.scroll { overflow-x: auto; }
td code { overflow-wrap: normal; white-space: nowrap; }
td { min-width: 5rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); }
details { margin: .6rem 0 0; }
summary { cursor: pointer; }
@media (min-width: 64rem) {
  .page.columns { display: grid; grid-template-columns: 17rem minmax(0, 1fr); gap: 0 2.5rem; }
  nav { position: sticky; top: 0; max-height: 100vh; overflow-y: auto; padding: 1rem .5rem 2rem 0; }
  nav > ul { display: block; }
  nav > ul > li { margin-bottom: .9rem; font-weight: 600; }
  nav li ul { display: block; font-weight: 400; margin-top: .15rem; }
  nav li li { line-height: 1.35; padding: .15rem 0 .15rem .7rem; border-left: 2px solid var(--line); }
  .examples { grid-template-columns: repeat(2, minmax(0, 1fr)); }
}
"""

POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)
"""The Content-Security-Policy of these pages: nothing is loaded, and only this style applies."""


def frame(title: str, body: str) -> str:
    """A whole page; `body` is HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )


HOME = frame(
    "PayFlow",
    '<div class="page"><main><h1>PayFlow</h1><p>Wallets and transfers over HTTP.</p>'
    '<ul><li><a href="/api/v1/docs">API reference</a></li>'
    '<li><a href="/api/v1/openapi.json">OpenAPI 3.1 document</a></li></ul></main></div>',
)
