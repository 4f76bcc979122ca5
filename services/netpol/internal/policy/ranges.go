package policy

import (
	"net/netip"
	"slices"
)

// span is a range of addresses of one family, both ends included.
type span struct{ first, last netip.Addr }

func (s span) String() string {
	if s.first == s.last {
		return s.first.String()
	}
	return s.first.String() + "-" + s.last.String()
}

func (s span) contains(address netip.Addr) bool {
	return s.first.Compare(address) <= 0 && address.Compare(s.last) <= 0
}

func spanOf(prefix netip.Prefix) span {
	first := prefix.Masked().Addr()
	bytes := first.AsSlice()
	for bit := prefix.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return span{first, last}
}

// subtract leaves of prefix what no exception covers, as ascending ranges that do not touch.
func subtract(prefix netip.Prefix, except []netip.Prefix) []span {
	cuts := make([]span, 0, len(except))
	for _, cut := range except {
		if cut.Addr().Is4() == prefix.Addr().Is4() && cut.Overlaps(prefix) {
			cuts = append(cuts, spanOf(cut))
		}
	}
	slices.SortFunc(cuts, func(a, b span) int { return a.first.Compare(b.first) })
	rest := spanOf(prefix)
	var spans []span
	for _, cut := range cuts {
		if cut.first.Compare(rest.first) > 0 {
			spans = append(spans, span{rest.first, cut.first.Prev()})
		}
		if cut.last.Compare(rest.first) >= 0 {
			if cut.last.Compare(rest.last) >= 0 {
				return spans
			}
			rest.first = cut.last.Next()
		}
	}
	return append(spans, rest)
}
