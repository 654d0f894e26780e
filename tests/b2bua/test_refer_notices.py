"""What a referrer is told, and when."""

from __future__ import annotations

from b2bua.refer_notices import ReferNotices, notice_of


def test_one_notice_follows_the_answer_to_the_one_before() -> None:
    notices = ReferNotices()
    assert notices.add(100) and notices.next(True) == 100
    assert notices.add(180) and notices.next(True) == 0
    assert notices.add(200) and not notices.is_over(True)
    notices.answered()
    assert notices.next(True) == 180
    notices.answered()
    assert notices.next(True) == 200 and not notices.is_over(True)
    notices.answered()
    assert notices.next(True) == 0 and notices.is_over(True)


def test_nothing_is_told_twice_or_after_something_better() -> None:
    notices = ReferNotices()
    assert notices.add(183) and not notices.add(183) and not notices.add(180)
    assert notices.next(True) == 183 and not notices.add(100)


def test_who_hears_nothing_is_told_nothing_and_waited_for_by_nobody() -> None:
    silent, gone = ReferNotices(), ReferNotices()
    silent.silent = True
    for notices, hears in ((silent, True), (gone, False)):
        assert notices.add(100) and notices.next(hears) == 0 and not notices.is_over(hears)
        assert notices.add(603) and notices.next(hears) == 0 and notices.is_over(hears)


def test_who_hangs_up_meanwhile_is_not_waited_for() -> None:
    notices = ReferNotices()
    assert notices.add(100) and notices.next(True) == 100
    assert notices.add(180) and notices.add(200) and notices.next(False) == 0 and notices.is_over(False)


def test_a_notice_has_the_status_line_and_says_whether_it_is_the_last() -> None:
    lines, body = notice_of(180, 60.0)
    assert "Subscription-State: active;expires=60" in lines and body == b"SIP/2.0 180 Ringing\r\n"
    lines, body = notice_of(299, 60.0)
    assert "Subscription-State: terminated;reason=noresource" in lines and body == b"SIP/2.0 299 Unknown\r\n"
