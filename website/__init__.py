"""The documentation site: generated Markdown for Zensical, from docs/, specs/ and docstrings. `make docs` builds it.

Rooms, from the bottom up:

    places.py      paths of the repository, and their addresses on the site
    tables.py      Markdown tables, written and read
    terms.py       words of the field that a bound spec is found by
    vocabulary.py  sections of the vocabulary that a bound spec has
    family.py      facts of one family
    family_page.py the page of a family
    gallery.py     the index of the families, with search and filter
    guides.py      the pages of docs/ and the README, with the links of the site
    reference.py   pages of the Python API and of the command line
    __main__.py    writes all pages into a folder
"""
