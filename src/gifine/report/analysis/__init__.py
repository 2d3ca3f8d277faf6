"""What records say together: cells, pairs, tests, tables. Nothing is written or drawn here."""
