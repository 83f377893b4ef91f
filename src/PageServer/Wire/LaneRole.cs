namespace PostCopy.Wire;

/// <summary>What a connection is for. The numbers are the wire's.</summary>
internal enum LaneRole : byte
{
    /// <summary>The conversation: prepare, images, the hand-off, progress, the end.</summary>
    Control = 1,

    /// <summary>Requests for single pages and their answers; nothing else may ever queue here.</summary>
    Demand = 2,

    /// <summary>Everything else, in the order of the prefetch policy.</summary>
    Push = 3,
}
