using System.CommandLine;

namespace PostCopy.Commands;

/// <summary>What an option's value must be, beyond its type.</summary>
internal static class OptionLimits
{
    /// <summary>Has the command line refused, with the option's name and <paramref name="what"/> it must be.</summary>
    internal static void Require<T>(this Option<T> option, Predicate<T> holds, string what)
        where T : struct => option.Validators.Add(result =>
    {
        if (!holds(result.GetValueOrDefault<T>()))
        {
            result.AddError($"{option.Name} must be {what}");
        }
    });
}
