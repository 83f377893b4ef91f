using PostCopy.Memory;

namespace PostCopy.Faults;

/// <summary>Pages that are next to each other both where the task has them now and where the dump had them.</summary>
/// <param name="RunTime">Address of the first page in the running task.</param>
/// <param name="DumpTime">Address of the same page in the dump.</param>
/// <param name="Index">Its number in the <see cref="DumpLayout"/>.</param>
/// <param name="PageCount">Number of pages.</param>
internal readonly record struct OwedRun(ulong RunTime, ulong DumpTime, long Index, long PageCount)
{
    public ulong RunTimeEnd => RunTime + PageSize.ToBytes((ulong)PageCount);

    public ulong DumpTimeEnd => DumpTime + PageSize.ToBytes((ulong)PageCount);

    public long ByteCount => PageCount << PageSize.Shift;

    /// <summary>The part from page <paramref name="skip"/> on, <paramref name="count"/> pages long.</summary>
    public OwedRun Slice(long skip, long count)
    {
        ulong offset = PageSize.ToBytes((ulong)skip);
        return new OwedRun(RunTime + offset, DumpTime + offset, Index + skip, count);
    }

    /// <summary>The part whose run-time addresses lie in [<paramref name="start"/>, <paramref name="end"/>); empty when there is none.</summary>
    public OwedRun Within(ulong start, ulong end)
    {
        ulong from = Math.Max(RunTime, start);
        ulong to = Math.Min(RunTimeEnd, end);
        return to > from ? Slice((long)((from - RunTime) >> PageSize.Shift), (long)((to - from) >> PageSize.Shift)) : this with { PageCount = 0 };
    }
}
