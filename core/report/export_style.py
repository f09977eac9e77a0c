"""The look of an exported run: dark and light by the reader's own setting, crisp pixels, printable."""

STYLE = """
:root { color-scheme: light dark; }
body { font: 14px/1.45 system-ui, sans-serif; margin: 0; color: light-dark(#16202a, #e4eaee);
  background: light-dark(#fff, #11171c); }
main { max-width: 1200px; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin: 1.5rem 0 .5rem; } h3 { font-size: 1rem; margin: .2rem 0; }
p { margin: .2rem 0; max-width: 75ch; }
.verdict { border-left: 4px solid light-dark(#7a8791, #8a97a1); padding-left: 1rem; }
.verdict.leaks { border-color: light-dark(#0f766e, #2dd4bf); }
.verdict.inconclusive, .verdict.pending { border-color: light-dark(#b45309, #f59e0b); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .1rem .8rem .1rem 0; font-weight: 400;
  vertical-align: top; overflow-wrap: anywhere; }
tr + tr { border-top: 1px solid light-dark(#e1e6ea, #2a353e); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(290px, 1fr)); gap: .8rem; }
article { border: 1px solid light-dark(#d3dadf, #33404a); border-radius: 4px; padding: .6rem; break-inside: avoid; }
article table { width: 100%; font-size: .85rem; } article td { text-align: right; padding-right: 0; }
th { white-space: nowrap; }
.trio { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: .4rem; }
figure { margin: 0; } img { width: 100%; image-rendering: pixelated; display: block; }
figcaption { font-size: .8rem; opacity: .75; }
"""
