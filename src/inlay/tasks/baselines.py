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


def words_and_regressions(
    train: Sequence[Example],
    test: Sequence[Example],
    known: Sequence[Sequence[str]],
    labels: Sequence[str],
) -> list[list[str]]:
    """Predict sets of labels by TF-IDF and a logistic regression for each label.

    Args:
        train: Rows to learn from.
        test: Rows to answer.
        known: The labels of each row of train.
        labels: All labels.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=50_000)
    try:
        seen = vectorizer.fit_transform([_text(row) for row in train])
    except ValueError:  # no word at all in train, only symbols
        return [[] for _ in test]
    asked = vectorizer.transform([_text(row) for row in test])
    chosen: list[list[str]] = [[] for _ in test]
    for label in labels:
        has = [label in own for own in known]
        if all(has) or not any(has):
            hits = [all(has)] * len(test)
        else:
            hits = LogisticRegression(C=10.0, max_iter=200, tol=1e-3).fit(seen, has).predict(asked)
        for own, hit in zip(chosen, hits, strict=True):
            if hit:
                own.append(label)
    return chosen


def words_and_ridge(
    train: Sequence[Example], test: Sequence[Example], known: Sequence[float]
) -> list[float]:
    """Predict numbers by ridge regression on TF-IDF and on how many words a pair shares."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge

    vectorizer = TfidfVectorizer(sublinear_tf=True, max_features=50_000)
    try:
        seen = vectorizer.fit_transform([_text(row) for row in train])
    except ValueError:
        return [sum(known) / len(known)] * len(test)
    asked = vectorizer.transform([_text(row) for row in test])
    shares = [csr_matrix([[_overlap(row)] for row in rows]) for rows in (train, test)]
    model = Ridge(alpha=1.0).fit(hstack([seen, shares[0]]), known)
    return [float(number) for number in model.predict(hstack([asked, shares[1]]))]


def nearest_descriptions(texts: Sequence[str], descriptions: Sequence[str]) -> list[int]:
    """Return for each text the number of the description with the nearest words (TF-IDF)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    vectorizer.fit([*descriptions, *texts])
    cosines = vectorizer.transform(texts) @ vectorizer.transform(descriptions).T
    return [int(index) for index in cosines.toarray().argmax(axis=1)]


def most_shared_words(text: str, choices: Sequence[str]) -> int:
    """Return the number of the choice that shares most of its words with a text."""
    words = set(text.lower().split())
    shares = [
        len(words & set(own)) / max(1, len(set(own)))
        for own in (choice.lower().split() for choice in choices)
    ]
    return max(range(len(choices)), key=shares.__getitem__)


def _overlap(row: Example) -> float:
    """Return the words that both texts have as a share of all their words (Jaccard)."""
    first, second = set(row.text.lower().split()), set((row.pair or "").lower().split())
    return len(first & second) / max(1, len(first | second))


def _text(row: Example) -> str:
    return row.text if row.pair is None else f"{row.text} {row.pair}"
