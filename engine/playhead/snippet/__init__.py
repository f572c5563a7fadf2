"""The composition language `snippet/1` and its machine: pure, without input, output or clock."""
