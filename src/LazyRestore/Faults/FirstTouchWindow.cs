namespace PostCopy.Faults;

/// <summary>
/// How many zero pages to map when a task touches memory that it is not owed. A fault costs tens of microseconds, a zero page 0.14; the window
/// doubles while first touches walk upwards, as fresh heaps do, and starts again anywhere else.
/// </summary>
internal sealed class FirstTouchWindow
{
    /// <summary>Enough to hide most of a fault; few enough not to matter for a task that hops.</summary>
    public const int FirstPages = 8;

    /// <summary>256 KiB with 4 KiB pages.</summary>
    public const int MaxPages = 64;

    private ulong _expected;
    private int _pages = FirstPages;

    /// <summary>Pages to fill from <paramref name="address"/> on.</summary>
    public int Next(ulong address)
    {
        _pages = address == _expected ? Math.Min(_pages * 2, MaxPages) : FirstPages;
        return _pages;
    }

    /// <summary>Tells where the filled pages ended.</summary>
    public void Filled(ulong endExclusive) => _expected = endExclusive;
}
