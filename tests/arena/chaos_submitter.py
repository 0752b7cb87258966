"""A participant with mlarena-sdk 4.6.0 who submits agents while the service is killed. A script that stands alone: it
runs with the official SDK in an environment of its own.

    python chaos_submitter.py URL CHALLENGE     (JSON on standard input: the token, and the agents as [name, source])

It prints JSON: the ids of the submissions, in order.
"""

import json
import sys
import time

import mlarena
import requests

LIMIT_S, PAUSE_S = 1500.0, 0.2


def insist(work, *arguments):
    """Do it again until the service is there to answer."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            return work(*arguments)
        except (requests.ConnectionError, requests.Timeout):
            assert time.monotonic() < deadline
            time.sleep(PAUSE_S)


def submit(client, cid, name, source):
    sid = insist(client.create_submission, cid, name)["submission_id"]
    insist(client.update_submission_file_content, cid, sid, "agent.py", source)
    insist(deploy_unless_done, client, cid, sid)
    return sid


def deploy_unless_done(client, cid, sid):
    """Deploy it, unless it was, and only the answer was lost."""
    if client.submission(sid)["status"] == "upload_validated":
        client.deploy_submission(cid, sid)


def main():
    url, cid = sys.argv[1], int(sys.argv[2])
    token, agents = json.load(sys.stdin)
    client = insist(lambda: mlarena.connect(token, base_url=url))
    print(json.dumps([submit(client, cid, name, source) for name, source in agents]))


if __name__ == "__main__":
    main()
