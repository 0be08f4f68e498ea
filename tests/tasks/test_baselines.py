"""The free baselines: the most frequent label, and words with logistic regression."""

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from inlay.data.rows import Example
from inlay.tasks.baselines import majority, nearest_descriptions, words_and_regression
from tests import tiny


def examples(number, seed):
    return [Example(text, None, label, "f", 1) for text, label in tiny.rows(number, seed=seed)]


def test_majority_is_the_most_frequent_label_of_train():
    train = [Example("x", None, label, "f", 1) for label in ["a", "b", "b", "c"]]
    assert majority(train, train[:3]) == ["b", "b", "b"]
    assert majority(train, []) == []


def test_words_equal_those_of_scikit_learn():
    train, test = examples(90, 1), examples(40, 2)
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=50_000)
    model = LogisticRegression(C=10.0, max_iter=200, tol=1e-3)
    model.fit(words.fit_transform([row.text for row in train]), [row.label for row in train])
    expected = model.predict(words.transform([row.text for row in test])).tolist()
    found = words_and_regression(train, test)
    assert found == expected
    assert sum(f == row.label for f, row in zip(found, test, strict=True)) > 35


def test_both_texts_of_a_pair_are_read():
    train = [
        Example("same words", second, label, "f", 1)
        for second, label in [("green grass", "yes"), ("red roses", "no")] * 8
    ]
    test = [Example("same words", "green", "", "f", 1), Example("same words", "roses", "", "f", 1)]
    assert words_and_regression(train, test) == ["yes", "no"]


def test_texts_without_words_get_the_majority():
    train = [Example("!?", None, label, "f", 1) for label in ["a", "b", "b"]]
    assert words_and_regression(train, train) == ["b", "b", "b"]


def test_the_nearest_description_shares_parts_of_words():
    found = nearest_descriptions(
        ["Cards?", "two passports", "a loaned book"], ["loan", "passport", "card"]
    )
    assert found == [2, 1, 0]
    assert nearest_descriptions(["loan"], ["card loan insurance", "loan"]) == [1], "by angle"
