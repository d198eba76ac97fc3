"""Money: an integer in the currency's minor unit and an ISO 4217 code. Never a float, from socket to disk."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

AMOUNT_MAX = 10**15
"""The largest amount of one transfer, in minor units."""

BALANCE_MAX = 2**53 - 1
"""The largest balance of a user's account, in minor units: the largest integer that every reader of JSON reads exactly."""

EXTERNAL_BALANCE_MAX = 9 * 10**18
"""How far an external account may go in either direction, in minor units: below 2^63, with room for one more transfer."""

DEFAULT_CURRENCY = "USD"
"""Every user has a wallet in it without asking."""


@dataclass(frozen=True, slots=True)
class Currency:
    """An ISO 4217 currency; `exponent` is how many decimal digits its minor unit stands for."""

    code: str
    exponent: int
    name: str


def format_amount(amount: int, currency: str) -> str:
    """`1050, "USD"` as `10.50 USD`, for people. Digits are grouped by thousands."""
    exponent = CURRENCIES[currency].exponent
    sign = "-" if amount < 0 else ""
    whole, minor = divmod(abs(amount), 10**exponent)
    fraction = f".{minor:0{exponent}d}" if exponent else ""
    return f"{sign}{whole:,}{fraction} {currency}"


_ROWS = (
    Currency("AED", 2, "UAE Dirham"),
    Currency("AFN", 2, "Afghani"),
    Currency("ALL", 2, "Lek"),
    Currency("AMD", 2, "Armenian Dram"),
    Currency("AOA", 2, "Kwanza"),
    Currency("ARS", 2, "Argentine Peso"),
    Currency("AUD", 2, "Australian Dollar"),
    Currency("AWG", 2, "Aruban Florin"),
    Currency("AZN", 2, "Azerbaijan Manat"),
    Currency("BAM", 2, "Convertible Mark"),
    Currency("BBD", 2, "Barbados Dollar"),
    Currency("BDT", 2, "Taka"),
    Currency("BHD", 3, "Bahraini Dinar"),
    Currency("BIF", 0, "Burundi Franc"),
    Currency("BMD", 2, "Bermudian Dollar"),
    Currency("BND", 2, "Brunei Dollar"),
    Currency("BOB", 2, "Boliviano"),
    Currency("BRL", 2, "Brazilian Real"),
    Currency("BSD", 2, "Bahamian Dollar"),
    Currency("BTN", 2, "Ngultrum"),
    Currency("BWP", 2, "Pula"),
    Currency("BYN", 2, "Belarusian Ruble"),
    Currency("BZD", 2, "Belize Dollar"),
    Currency("CAD", 2, "Canadian Dollar"),
    Currency("CDF", 2, "Congolese Franc"),
    Currency("CHF", 2, "Swiss Franc"),
    Currency("CLP", 0, "Chilean Peso"),
    Currency("CNY", 2, "Yuan Renminbi"),
    Currency("COP", 2, "Colombian Peso"),
    Currency("CRC", 2, "Costa Rican Colon"),
    Currency("CUP", 2, "Cuban Peso"),
    Currency("CVE", 2, "Cabo Verde Escudo"),
    Currency("CZK", 2, "Czech Koruna"),
    Currency("DJF", 0, "Djibouti Franc"),
    Currency("DKK", 2, "Danish Krone"),
    Currency("DOP", 2, "Dominican Peso"),
    Currency("DZD", 2, "Algerian Dinar"),
    Currency("EGP", 2, "Egyptian Pound"),
    Currency("ERN", 2, "Nakfa"),
    Currency("ETB", 2, "Ethiopian Birr"),
    Currency("EUR", 2, "Euro"),
    Currency("FJD", 2, "Fiji Dollar"),
    Currency("FKP", 2, "Falkland Islands Pound"),
    Currency("GBP", 2, "Pound Sterling"),
    Currency("GEL", 2, "Lari"),
    Currency("GHS", 2, "Ghana Cedi"),
    Currency("GIP", 2, "Gibraltar Pound"),
    Currency("GMD", 2, "Dalasi"),
    Currency("GNF", 0, "Guinean Franc"),
    Currency("GTQ", 2, "Quetzal"),
    Currency("GYD", 2, "Guyana Dollar"),
    Currency("HKD", 2, "Hong Kong Dollar"),
    Currency("HNL", 2, "Lempira"),
    Currency("HTG", 2, "Gourde"),
    Currency("HUF", 2, "Forint"),
    Currency("IDR", 2, "Rupiah"),
    Currency("ILS", 2, "New Israeli Sheqel"),
    Currency("INR", 2, "Indian Rupee"),
    Currency("IQD", 3, "Iraqi Dinar"),
    Currency("IRR", 2, "Iranian Rial"),
    Currency("ISK", 0, "Iceland Krona"),
    Currency("JMD", 2, "Jamaican Dollar"),
    Currency("JOD", 3, "Jordanian Dinar"),
    Currency("JPY", 0, "Yen"),
    Currency("KES", 2, "Kenyan Shilling"),
    Currency("KGS", 2, "Som"),
    Currency("KHR", 2, "Riel"),
    Currency("KMF", 0, "Comorian Franc"),
    Currency("KPW", 2, "North Korean Won"),
    Currency("KRW", 0, "Won"),
    Currency("KWD", 3, "Kuwaiti Dinar"),
    Currency("KYD", 2, "Cayman Islands Dollar"),
    Currency("KZT", 2, "Tenge"),
    Currency("LAK", 2, "Lao Kip"),
    Currency("LBP", 2, "Lebanese Pound"),
    Currency("LKR", 2, "Sri Lanka Rupee"),
    Currency("LRD", 2, "Liberian Dollar"),
    Currency("LSL", 2, "Loti"),
    Currency("LYD", 3, "Libyan Dinar"),
    Currency("MAD", 2, "Moroccan Dirham"),
    Currency("MDL", 2, "Moldovan Leu"),
    Currency("MGA", 2, "Malagasy Ariary"),
    Currency("MKD", 2, "Denar"),
    Currency("MMK", 2, "Kyat"),
    Currency("MNT", 2, "Tugrik"),
    Currency("MOP", 2, "Pataca"),
    Currency("MRU", 2, "Ouguiya"),
    Currency("MUR", 2, "Mauritius Rupee"),
    Currency("MVR", 2, "Rufiyaa"),
    Currency("MWK", 2, "Malawi Kwacha"),
    Currency("MXN", 2, "Mexican Peso"),
    Currency("MYR", 2, "Malaysian Ringgit"),
    Currency("MZN", 2, "Mozambique Metical"),
    Currency("NAD", 2, "Namibia Dollar"),
    Currency("NGN", 2, "Naira"),
    Currency("NIO", 2, "Cordoba Oro"),
    Currency("NOK", 2, "Norwegian Krone"),
    Currency("NPR", 2, "Nepalese Rupee"),
    Currency("NZD", 2, "New Zealand Dollar"),
    Currency("OMR", 3, "Rial Omani"),
    Currency("PAB", 2, "Balboa"),
    Currency("PEN", 2, "Sol"),
    Currency("PGK", 2, "Kina"),
    Currency("PHP", 2, "Philippine Peso"),
    Currency("PKR", 2, "Pakistan Rupee"),
    Currency("PLN", 2, "Zloty"),
    Currency("PYG", 0, "Guarani"),
    Currency("QAR", 2, "Qatari Rial"),
    Currency("RON", 2, "Romanian Leu"),
    Currency("RSD", 2, "Serbian Dinar"),
    Currency("RUB", 2, "Russian Ruble"),
    Currency("RWF", 0, "Rwanda Franc"),
    Currency("SAR", 2, "Saudi Riyal"),
    Currency("SBD", 2, "Solomon Islands Dollar"),
    Currency("SCR", 2, "Seychelles Rupee"),
    Currency("SDG", 2, "Sudanese Pound"),
    Currency("SEK", 2, "Swedish Krona"),
    Currency("SGD", 2, "Singapore Dollar"),
    Currency("SHP", 2, "Saint Helena Pound"),
    Currency("SLE", 2, "Leone"),
    Currency("SOS", 2, "Somali Shilling"),
    Currency("SRD", 2, "Surinam Dollar"),
    Currency("SSP", 2, "South Sudanese Pound"),
    Currency("STN", 2, "Dobra"),
    Currency("SVC", 2, "El Salvador Colon"),
    Currency("SYP", 2, "Syrian Pound"),
    Currency("SZL", 2, "Lilangeni"),
    Currency("THB", 2, "Baht"),
    Currency("TJS", 2, "Somoni"),
    Currency("TMT", 2, "Turkmenistan New Manat"),
    Currency("TND", 3, "Tunisian Dinar"),
    Currency("TOP", 2, "Pa'anga"),
    Currency("TRY", 2, "Turkish Lira"),
    Currency("TTD", 2, "Trinidad and Tobago Dollar"),
    Currency("TWD", 2, "New Taiwan Dollar"),
    Currency("TZS", 2, "Tanzanian Shilling"),
    Currency("UAH", 2, "Hryvnia"),
    Currency("UGX", 0, "Uganda Shilling"),
    Currency("USD", 2, "US Dollar"),
    Currency("UYU", 2, "Peso Uruguayo"),
    Currency("UZS", 2, "Uzbekistan Sum"),
    Currency("VED", 2, "Bolivar Soberano"),
    Currency("VES", 2, "Bolivar Soberano"),
    Currency("VND", 0, "Dong"),
    Currency("VUV", 0, "Vatu"),
    Currency("WST", 2, "Tala"),
    Currency("XAF", 0, "CFA Franc BEAC"),
    Currency("XCD", 2, "East Caribbean Dollar"),
    Currency("XOF", 0, "CFA Franc BCEAO"),
    Currency("XPF", 0, "CFP Franc"),
    Currency("YER", 2, "Yemeni Rial"),
    Currency("ZAR", 2, "Rand"),
    Currency("ZMW", 2, "Zambian Kwacha"),
    Currency("ZWG", 2, "Zimbabwe Gold"),
)
# ISO 4217, list one, active codes of circulating currencies; funds, metals and test codes are left out.
CURRENCIES = MappingProxyType({currency.code: currency for currency in _ROWS})
