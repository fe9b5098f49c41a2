"""Return a verdict in place of an answer.

Group: forgery
Expected: wrong or crash
"""


def spoil(answer, target):
    return {"valid": True, "score": 1e9, "status": "ok", "points": [{"error": 0.0, "traffic": 0.0}]}
