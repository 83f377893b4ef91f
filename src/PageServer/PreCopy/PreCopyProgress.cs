namespace PostCopy.PreCopy;

/// <summary>A look at the rounds.</summary>
/// <param name="Round">The round, from 1.</param>
/// <param name="Pages">Pages it copies.</param>
/// <param name="DirtyBytesPerSecond">How fast the program writes pages anew.</param>
/// <param name="BytesPerSecond">How fast copying is.</param>
/// <param name="Estimate">How long the round will take.</param>
public readonly record struct PreCopyProgress(int Round, ulong Pages, double DirtyBytesPerSecond, double BytesPerSecond, TimeSpan Estimate);
