"""Where a worker process begins: `python -I -S worker.py`. What it does is in `serving`.

Without `site` and environment nothing is on the path, so the directory of this package is put there.
"""

import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.replace("\\", "/").rpartition("/playhead/")[0])
    from playhead.snippet.serving import limit, serve

    limit()
    serve()
