"""Segments the images of a folder by TF Serving over REST: `python clients/rest_client.py photos maps`.

Needs numpy, pillow and requests.
"""

import argparse
import base64
import sys

import numpy as np
import requests
from folders import RequestError, options, segment_folder


def segment(file: bytes, session: requests.Session, given: argparse.Namespace) -> np.ndarray:
    """The label map of an encoded image, uint8 [height, width]."""
    inputs = {'ImageTensor_bytes': [{'b64': base64.b64encode(file).decode()}]}
    url = f'{given.server}/v1/models/{given.model}:predict'
    try:
        answer = session.post(url, json={'signature_name': 'serving_bytes', 'inputs': inputs}, timeout=given.timeout)
    except requests.RequestException as error:
        raise RequestError(error) from error
    if answer.status_code != requests.codes.ok:
        raise RequestError(f'{answer.status_code}: {answer.text}')
    return np.array(answer.json()['outputs']['SemanticPredictions'][0], np.uint8)


def main() -> int:
    """Entry of the command."""
    given = options('Segments the images of a folder by TF Serving over REST.', 'http://localhost:8501')
    with requests.Session() as session:
        return segment_folder(given, lambda file: segment(file, session, given))


if __name__ == '__main__':
    sys.exit(main())
