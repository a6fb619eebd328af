"""What is said on the terminal."""

from deeplab_load.reporting.progress import say


def test_names_in_what_is_said_do_not_steer_the_terminal(capsys):
    say('first: ü \x1b[31m\r\x07\u202e\udcff\nsecond')
    assert capsys.readouterr().out == 'first: ü \\x1b[31m\\r\\x07\\u202e\\udcff\nsecond\n'
