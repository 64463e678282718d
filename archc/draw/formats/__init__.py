"""The files of a figure: SVG, a page in HTML, and Markdown with a Mermaid flowchart."""
