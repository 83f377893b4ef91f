using PostCopy.Control.Messages;
using PostCopy.Memory;
using PostCopy.Wire;

namespace PostCopy.Migrate;

/// <summary>What a destination says it is still owed, message by message, checked before anything is done with it.</summary>
/// <param name="mostRanges">There cannot be more ranges than pages that were owed at the freeze.</param>
internal sealed class OwedAccount(ulong mostRanges)
{
    private readonly List<KeyValuePair<ImagePid, PageRange>> _ranges = [];

    internal IReadOnlyList<KeyValuePair<ImagePid, PageRange>> Ranges => _ranges;

    /// <summary>Takes the next message. Throws <see cref="ProtocolException"/> when it is no list of ranges of pages.</summary>
    internal void Add(Owed owed)
    {
        if (owed.Starts.Count != owed.Pages.Count || owed.Starts.Count > ProtocolLimits.MaxOwedRanges)
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"control lane: {owed.Starts.Count} starts and {owed.Pages.Count} lengths of owed ranges, at most {ProtocolLimits.MaxOwedRanges}");
        }

        for (int i = 0; i < owed.Starts.Count; i++)
        {
            if (owed.Pages[i] == 0 || !PageSize.IsAligned(owed.Starts[i]) || owed.Pages[i] > (ulong.MaxValue - owed.Starts[i]) >> PageSize.Shift)
            {
                throw new ProtocolException(WireErrorCode.ProtocolViolation, $"control lane: {owed.Pages[i]} owed pages at {owed.Starts[i]:x} are no range of pages");
            }

            _ranges.Add(new(new ImagePid(owed.Pid), new PageRange(owed.Starts[i], owed.Pages[i])));
            if ((ulong)_ranges.Count > mostRanges)
            {
                throw new ProtocolException(WireErrorCode.TooLarge, $"control lane: more owed ranges than the {mostRanges} pages that there are");
            }
        }
    }
}
