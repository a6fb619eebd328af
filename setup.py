"""Packaging of deeplab_load."""

import pathlib
import re

from setuptools import find_packages, setup

here = pathlib.Path(__file__).parent
version = re.search(r"__version__ = '(.+)'", (here / 'deeplab_load' / '__init__.py').read_text()).group(1)

setup(
    name='deeplab_load',
    version=version,
    description='DeepLab in TensorFlow 2 and Keras 3, with lookahead adversarial learning (LoAd)',
    long_description=(here / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['deeplab_load', 'deeplab_load.*']),
    python_requires='>=3.10,<3.14',
    install_requires=[
        'absl-py',
        'array-record>=0.8',
        'keras>=3.12',
        'keras-cv>=0.9',
        'matplotlib>=3.8',
        'numpy>=2',
        'pillow>=10',
        'tensorflow>=2.21',
        'tensorflow-datasets>=4.9.9',
        'tqdm',
    ],
    extras_require={
        'clients': ['requests', 'tensorflow-serving-api>=2.21'],
        'cuda': ['tensorflow[and-cuda]>=2.21'],
        'dev': ['hypothesis', 'mypy', 'openvino', 'pytest', 'pytest-xdist', 'ruff'],
        'fuzz': ['atheris>=3'],
        # backports-strenum is ai-edge-litert's; 1.3 is for Python 3.10 only, which a universal resolution overlooks.
        'runtimes': ['ai-edge-litert>=2', 'backports-strenum<1.3', 'onnxruntime>=1.23', 'tf2onnx>=1.17'],
    },
    entry_points={
        'console_scripts': [
            'deeplab-load=deeplab_load.main:main',
            'deeplab-load-evaluate=deeplab_load.evaluate:main',
            'deeplab-load-predict=deeplab_load.predict:main',
            'deeplab-load-report=deeplab_load.report:main',
            'deeplab-load-sweep=deeplab_load.sweep:main',
            'deeplab-load-zoo=deeplab_load.zoo:main',
        ]
    },
)
