"""Models of this library as transformers of scikit-learn.

``import mlvae`` does not import this package: ``from mlvae.sklearn import ContentStyle, Imputer``.
"""

from mlvae.sklearn.content_style import ContentStyle
from mlvae.sklearn.imputer import Imputer

__all__ = ["ContentStyle", "Imputer"]
