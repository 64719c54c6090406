"""What reports say, for readers: tables that are data, plots, and Markdown files that are filled with them.

Read in this order: `reports` (a folder of reports, and figures with their intervals), `view` (what a table is made of
and for), `table` (columns and rows as data), then the tables: `paper_tables`, `space_tables`, `control_tables`,
`second_hand` and `targets`; `tables` lists them by name. `plots` draws, `drawing` writes what was drawn, and `page`
fills Markdown files and writes the page of all results. Nothing here measures; every figure is read from a report.
"""
