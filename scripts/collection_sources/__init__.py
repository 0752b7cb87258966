"""Parts of `build_collections.py`: one module for each kind of data, and one that fetches packages."""
