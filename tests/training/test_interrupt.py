"""Signals set a flag; the handlers of the process are restored afterwards."""

import signal
import threading

import pytest

from mlvae.training.interrupt import Interrupt


def send(number):
    signal.raise_signal(number)  # os.kill may deliver it later, to another thread


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in Interrupt.SIGNALS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", Interrupt.SIGNALS)
def test_a_signal_sets_the_flag_and_the_handlers_are_restored(number, handlers):
    with Interrupt() as interrupt:
        assert not interrupt.requested
        send(number)
        assert interrupt.requested
    assert {n: signal.getsignal(n) for n in handlers} == handlers


def test_a_second_signal_after_a_while_has_its_usual_effect(monkeypatch):
    # The tests may run as a background job of a shell, which ignores the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr("mlvae.training.interrupt.TOGETHER", 0)
    with pytest.raises(KeyboardInterrupt), Interrupt() as interrupt:
        send(signal.SIGINT)
        assert interrupt.requested
        send(signal.SIGINT)


def test_repeated_signals_set_the_flag_with_several_ranks(handlers):
    with Interrupt(repeatedly=True) as interrupt:
        send(signal.SIGINT)
        send(signal.SIGINT)
        assert interrupt.requested
    assert {n: signal.getsignal(n) for n in handlers} == handlers


def test_a_handler_that_python_cannot_see_becomes_the_default(monkeypatch):
    # signal.getsignal is None for a handler that was installed from C.
    real = signal.getsignal
    monkeypatch.setattr(signal, "getsignal", lambda n: None if n == signal.SIGTERM else real(n))
    with Interrupt() as interrupt:
        send(signal.SIGTERM)
        assert interrupt.requested
    assert real(signal.SIGTERM) == signal.SIG_DFL


def test_another_thread_has_no_handlers():
    ends = []

    def work():
        with Interrupt() as interrupt:
            ends.append((interrupt.requested, interrupt.previous))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ends == [(False, {})]
