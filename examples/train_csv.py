"""From a CSV file to a trained, measured adapter and its predictions.

The same from the shell: `inlay train moods.csv --epochs 4`.
"""

import csv
import tempfile
from pathlib import Path

import inlay

GOOD = ["lovely", "superb", "a joy to use", "works like a charm", "exactly what I wanted"]
BAD = ["broken on arrival", "a waste of money", "fell apart", "never again", "awful support"]
THINGS = ["the lamp", "this kettle", "my new phone", "the tent", "that chair", "the radio"]


def main() -> None:
    """Write a small file, train on it, and ask two questions."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "moods.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["review", "mood"])
            for thing in THINGS:
                writer.writerows([f"{thing}: {words}", "good"] for words in GOOD)
                writer.writerows([f"{thing}: {words}", "bad"] for words in BAD)
        run = inlay.train(path, epochs=4, out=Path(folder) / "run")
        test = run.metrics["test"]
        print(f"test accuracy {test['accuracy']:.2f} on {test['n']} rows")
        for text in ["this sofa is a joy to use", "the bike was broken on arrival"]:
            (answer,) = run.predict([text])
            print(f"{answer.label} {answer.confidence:.2f}  {text}")


if __name__ == "__main__":
    main()
