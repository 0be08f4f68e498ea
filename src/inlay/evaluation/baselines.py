"""What costs nothing: the most frequent label, and words with logistic regression."""

from collections import Counter
from collections.abc import Sequence

from inlay.data.rows import Example


def majority(train: Sequence[Example], test: Sequence[Example]) -> list[str]:
    """Predict the most frequent label of train for every row."""
    label = Counter(row.label for row in train).most_common(1)[0][0]
    return [label] * len(test)


def words_and_regression(train: Sequence[Example], test: Sequence[Example]) -> list[str]:
    """Predict by TF-IDF of words and word pairs with logistic regression.

    The strongest baseline that trains in seconds; an adapter that does not beat it is not worth
    its base. Text and pair are read as one.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=50_000),
        LogisticRegression(C=10.0, max_iter=200, tol=1e-3),
    )
    try:
        model.fit([_text(row) for row in train], [row.label for row in train])
    except ValueError:  # no word at all in train, only symbols
        return majority(train, test)
    return [str(label) for label in model.predict([_text(row) for row in test])]


def _text(row: Example) -> str:
    return row.text if row.pair is None else f"{row.text} {row.pair}"
