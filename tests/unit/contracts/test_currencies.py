"""The table of currencies: it is the locked list of ISO 4217, and never loses a code."""

from __future__ import annotations

from xml.etree.ElementTree import fromstring

import iso4217
import pytest

from payflow.money import Currency
from services.contracts import currencies
from services.contracts.money import CURRENCIES, TEST_CURRENCY, WITHDRAWN, format_amount
from tests.harness import write_currencies

KNOWN = [("AAA", 2, "Alpha"), ("BBB", 0, "Beta"), ("CCC", 3, "Gamma")]

LIST = """<ISO_4217 Pblshd="2030-01-01"><CcyTbl>
    <CcyNtry><CtryNm>B</CtryNm><CcyNm>Beta</CcyNm><Ccy>BBB</Ccy><CcyNbr>2</CcyNbr><CcyMnrUnts>0</CcyMnrUnts></CcyNtry>
    <CcyNtry><CtryNm>A</CtryNm><CcyNm> Alpha </CcyNm><Ccy>AAA</Ccy><CcyNbr>1</CcyNbr><CcyMnrUnts>2</CcyMnrUnts></CcyNtry>
    <CcyNtry><CtryNm>Z</CtryNm><CcyNm>Alpha</CcyNm><Ccy>AAA</Ccy><CcyNbr>1</CcyNbr><CcyMnrUnts>2</CcyMnrUnts></CcyNtry>
    <CcyNtry><CtryNm>F</CtryNm><CcyNm IsFund="true">Fund</CcyNm><Ccy>FFF</Ccy><CcyMnrUnts>2</CcyMnrUnts></CcyNtry>
    <CcyNtry><CtryNm>M</CtryNm><CcyNm>Metal</CcyNm><Ccy>XAU</Ccy><CcyMnrUnts>N.A.</CcyMnrUnts></CcyNtry>
    <CcyNtry><CtryNm>U</CtryNm><CcyNm>Unit of account</CcyNm><Ccy>XAD</Ccy><CcyMnrUnts>2</CcyMnrUnts></CcyNtry>
    <CcyNtry><CtryNm>ANTARCTICA</CtryNm><CcyNm>No universal currency</CcyNm></CcyNtry>
</CcyTbl></ISO_4217>"""


def test_table_is_the_locked_list() -> None:
    """Codes, exponents, names and date are those of the package; `make currencies` writes the table again."""
    assert write_currencies.page() == write_currencies.TABLE.read_text(encoding="utf-8")
    for code, exponent, name in currencies.LISTED:
        listed = iso4217.Currency(code)
        assert (exponent, name) == (listed.exponent, listed.currency_name)
    assert currencies.PUBLISHED == iso4217.__published__.isoformat()


def test_every_country_has_its_currency() -> None:
    """Each circulating currency of the list is included, XCG of Curaçao for instance, and no fund or metal; XTS is for tests."""
    left_out = {code for code in iso4217.raw_table if code} - CURRENCIES.keys()

    assert CURRENCIES["XCG"].name == "Caribbean Guilder"
    assert left_out == {
        *("BOV", "CHE", "CHW", "CLF", "COU", "MXV", "USN", "UYI", "UYW", "XAD", "XDR", "XSU", "XUA"),
        *("XAG", "XAU", "XBA", "XBB", "XBC", "XBD", "XPD", "XPT", "X" * 3),
    }


def test_circulating_currencies_are_read() -> None:
    """One row per code, sorted; funds, units of account and rows without a minor unit or a code are omitted."""
    assert [("AAA", 2, "Alpha"), ("BBB", 0, "Beta")] == write_currencies.read_rows(fromstring(LIST))


def test_withdrawn_code_is_kept() -> None:
    """A code that the list drops becomes withdrawn; withdrawn codes stay, and may return."""
    listed, withdrawn = write_currencies.merge([("AAA", 2, "Alpha"), ("DDD", 2, "Delta")], KNOWN)
    again, still = write_currencies.merge([("AAA", 2, "Alpha"), ("CCC", 3, "Gamma")], [*listed, *withdrawn])

    assert [("AAA", 2, "Alpha"), ("DDD", 2, "Delta")] == listed
    assert [("BBB", 0, "Beta"), ("CCC", 3, "Gamma")] == withdrawn
    assert [("AAA", 2, "Alpha"), ("CCC", 3, "Gamma")] == again
    assert [("BBB", 0, "Beta"), ("DDD", 2, "Delta")] == still


def test_name_may_change_and_exponent_may_not() -> None:
    """Amounts are stored in minor units: another exponent would change them all, so nothing is written."""
    listed, _ = write_currencies.merge([("AAA", 2, "Alpha dollar")], KNOWN)

    assert [("AAA", 2, "Alpha dollar")] == listed
    with pytest.raises(ValueError, match="BBB, CCC"):
        write_currencies.merge([("BBB", 2, "Beta"), ("CCC", 2, "Gamma")], KNOWN)


def test_withdrawn_codes_can_still_be_used() -> None:
    """All codes ever listed are in the one table that amounts are checked and formatted by."""
    assert CURRENCIES.keys() == {code for code, *_ in (*currencies.LISTED, *currencies.WITHDRAWN)} | {TEST_CURRENCY}
    assert WITHDRAWN == CURRENCIES.keys() - {code for code, *_ in currencies.LISTED} - {TEST_CURRENCY}


@pytest.mark.parametrize("code", CURRENCIES)
def test_client_formats_as_the_services_do(code: str) -> None:
    """The client formats amounts like the e-mails."""
    listed = CURRENCIES[code]
    read = Currency.read({"code": code, "exponent": listed.exponent, "name": listed.name, "withdrawn": False})

    assert [format_amount(amount, code) for amount in (0, 1, -1, 1050, 10**15)] == [
        read.format(amount) for amount in (0, 1, -1, 1050, 10**15)
    ]
