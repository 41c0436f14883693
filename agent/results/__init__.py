"""What an analysis writes: tables, NeXus, pictures, reports."""
