import unittest

from textkit.words import count


class Count(unittest.TestCase):
    def test_counts_words(self):
        self.assertEqual(count("one two  three\n"), 3)

    def test_nothing_has_no_words(self):
        self.assertEqual(count(" \t"), 0)
