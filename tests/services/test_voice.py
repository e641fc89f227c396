"""A service speaks, and never waits for those who listen."""

import threading

from requisition.services.voice import Voice


def test_lines_are_written_in_their_order_and_all_of_them_before_the_end():
    written = []
    with Voice(written.append) as say:
        for number in range(1000):
            say(str(number))
    assert written == [str(number) for number in range(1000)]


def test_a_reader_that_has_stopped_does_not_stop_who_speaks_and_hears_later_what_it_missed():
    written, go, begun = [], threading.Event(), threading.Event()

    def slow(line):
        begun.set()
        go.wait()
        written.append(line)

    voice = Voice(slow)
    with voice as say:
        say("first")
        begun.wait()
        for number in range(20_000):
            say(str(number))
        go.set()
        while len(written) < 10_001:
            threading.Event().wait(0.01)
        say("last")
    assert written[0] == "first"
    assert written[-2:] == ["(10000 lines could not be written)", "last"]


def test_a_reader_that_is_gone_does_not_end_the_voice():
    written = []

    def broken(line):
        if line == "one":
            raise BrokenPipeError
        written.append(line)

    with Voice(broken) as say:
        say("one")
        say("two")
    assert written == ["two"]
