// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// Reads structures in TLS presentation language from calldata, and takes their canonical encoding
/// only (ENC-001, ENC-002). Whatever else comes makes it revert, so that a value that was read is
/// a value that was there.
library WireReader {
    /// Where a reader stands, in calldata.
    struct Reader {
        /// The next byte.
        uint256 next;
        /// The first byte that is not the reader's.
        uint256 end;
        /// The error, without arguments, that bytes in another form are refused with.
        bytes4 refusal;
    }

    /// A reader of `source`, which refuses with `refusal`.
    function open(bytes calldata source, bytes4 refusal) internal pure returns (Reader memory) {
        uint256 start;
        assembly ("memory-safe") {
            start := source.offset
        }
        return Reader({next: start, end: start + source.length, refusal: refusal});
    }

    /// Ends reading: nothing may follow.
    function close(Reader memory reader) internal pure {
        demand(reader, reader.next == reader.end);
    }

    /// Refuses the bytes unless `holds`.
    function demand(Reader memory reader, bool holds) internal pure {
        if (holds) {
            return;
        }
        bytes4 refusal = reader.refusal;
        assembly ("memory-safe") {
            mstore(0, refusal)
            revert(0, 4)
        }
    }

    function u8(Reader memory reader) internal pure returns (uint8) {
        return uint8(bytes1(_take(reader, 1)));
    }

    function u16(Reader memory reader) internal pure returns (uint16) {
        return uint16(bytes2(_take(reader, 2)));
    }

    function u32(Reader memory reader) internal pure returns (uint32) {
        return uint32(bytes4(_take(reader, 4)));
    }

    function u64(Reader memory reader) internal pure returns (uint64) {
        return uint64(bytes8(_take(reader, 8)));
    }

    /// `opaque[20]`, an Ethereum address.
    function account(Reader memory reader) internal pure returns (address) {
        return address(bytes20(_take(reader, 20)));
    }

    /// `opaque[32]`.
    function word(Reader memory reader) internal pure returns (bytes32) {
        return _take(reader, 32);
    }

    /// A value of an enumeration, whose values are `first` to `last`.
    function choice(Reader memory reader, uint8 first, uint8 last)
        internal
        pure
        returns (uint8 value)
    {
        value = u8(reader);
        demand(reader, value >= first && value <= last);
    }

    /// Whether an `optional` is there.
    function presence(Reader memory reader) internal pure returns (bool) {
        return choice(reader, 0, 1) == 1;
    }

    /// `opaque<V>` of at most `max` bytes.
    function vector(Reader memory reader, uint256 max) internal pure returns (bytes calldata) {
        uint256 count = _length(reader);
        demand(reader, count <= max);
        uint256 start = reader.next;
        _skip(reader, count);
        return since(reader, start);
    }

    /// `opaque[32]<V>` of at most `max` elements.
    function words(Reader memory reader, uint256 max)
        internal
        pure
        returns (bytes32[] memory elements)
    {
        uint256 size = _length(reader);
        demand(reader, size % 32 == 0 && size / 32 <= max);
        elements = new bytes32[](size / 32);
        for (uint256 index = 0; index < elements.length; index++) {
            elements[index] = word(reader);
        }
    }

    /// The bytes from where the reader stood at `start` to where it stands.
    function since(Reader memory reader, uint256 start)
        internal
        pure
        returns (bytes calldata bytes_)
    {
        uint256 count = reader.next - start;
        assembly ("memory-safe") {
            bytes_.offset := start
            bytes_.length := count
        }
    }

    /// The length of a vector in bytes, in the shortest form (RFC 9420 §2.1.2).
    function _length(Reader memory reader) private pure returns (uint256 length) {
        uint256 first = u8(reader);
        uint256 form = first >> 6;
        // The form of eight bytes is for lengths that no vector of the protocol may have.
        demand(reader, form < 3);
        length = first & 0x3f;
        if (form == 1) {
            length = (length << 8) | u8(reader);
            demand(reader, length > 0x3f);
        } else if (form == 2) {
            // One read a statement: Solidity does not say which operand it evaluates first.
            length = (length << 8) | u8(reader);
            length = (length << 16) | u16(reader);
            demand(reader, length > 0x3fff);
        }
    }

    /// The next `count` bytes, at most 32, leftmost in `taken`; behind them it holds whatever
    /// follows in calldata, and callers cut it off.
    function _take(Reader memory reader, uint256 count) private pure returns (bytes32 taken) {
        uint256 start = reader.next;
        _skip(reader, count);
        assembly ("memory-safe") {
            taken := calldataload(start)
        }
    }

    function _skip(Reader memory reader, uint256 count) private pure {
        demand(reader, count <= reader.end - reader.next);
        reader.next += count;
    }
}
