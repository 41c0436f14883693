from agent.results.words import class_words


def test_a_dopant_has_a_word_only_if_there_may_be_one():
    assert class_words("Ti")["dopant"] == "Ti dopant"
    assert "dopant" not in class_words(None)
