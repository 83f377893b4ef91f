namespace PostCopy.Migrate;

/// <summary>When what happened, in microseconds since the epoch on the source's clock; 0 when it did not.</summary>
internal sealed class Timeline
{
    internal double BegunUs { get; set; }

    internal double PreDumpUs { get; set; }

    internal double SeizedUs { get; set; }

    internal double DumpedUs { get; set; }

    internal double ImagesCompleteUs { get; set; }

    internal double BuiltUs { get; set; }

    internal double ResumedUs { get; set; }

    internal double DrainedUs { get; set; }

    internal double EndedUs { get; set; }

    /// <summary>Milliseconds between two moments; 0 when one of them did not come.</summary>
    internal static double Ms(double fromUs, double toUs) => fromUs == 0 || toUs == 0 ? 0 : Math.Round((toUs - fromUs) / 1000, 3);
}
